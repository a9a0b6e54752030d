"""Quality control of deep-learning segmentation of white matter hyperintensities.

The names below are what most people need; each is imported when it is first used.
"""

import importlib

__version__ = "0.1.0"

#: Name -> the module and the function that it stands for.
_FRONT_DOOR = {
    "read_cohort": ("cohort", "read_csv"),
    "check_cohort": ("cohort", "check"),
    "prepare": ("preprocess", "prepare"),
    "to_scan": ("preprocess", "to_scan"),
    "mc_unet": ("networks", "mc_unet"),
    "rec_unet": ("networks", "rec_unet"),
    "reg_net": ("networks", "reg_net"),
    "fit": ("training", "fit"),
    "monte_carlo": ("uncertainty", "monte_carlo"),
    "error_map": ("errormaps", "error_map"),
    "assess_scan": ("assess", "assess"),  # not `assess`: that is the module
    "trained_networks": ("reference", "networks"),
    "scoreboard": ("failure", "scoreboard"),
    "guaranteed_risk": ("thresholds", "guaranteed_risk"),
}
__all__ = ["__version__", *_FRONT_DOOR]


def __getattr__(name):
    if name not in _FRONT_DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = _FRONT_DOOR[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)


def __dir__():
    return sorted({*globals(), *_FRONT_DOOR})
