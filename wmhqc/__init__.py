"""Quality control of deep-learning segmentation of white matter hyperintensities."""

__version__ = "0.1.0"
