"""Where cases come from: the databases, BIDS folders, the MS17 download, the synthetic cohort."""
