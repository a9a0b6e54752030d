"""The tool for one's own scans: what `wmhqc qc` does."""
