"""What scores and features are called in reports, with their unit."""

from __future__ import annotations

from wmhqc import catalogue
from wmhqc.features import FEATURES

#: The Dice that a network predicts of any segmentation, from the mask and FLAIR.
SCORE = "predicted_dice_mask"
#: What keeps a segmentation from being accepted.
KINDS = {"scan": "The scan", "mask": "The mask", "doubt": "The doubt"}
#: Name -> (what it is, unit): the catalogue, what only the screening tool measures, and the features of a scan.
LABELS = {
    **{score.name: (score.label, score.unit) for score in catalogue.scores().values()},
    "volume_on_scan_ml": ("lesion volume, on the scan's grid", "ml"),
    "agreement_dice": ("Dice with our own segmentation", ""),
    "own_volume_ml": ("lesion volume of our own segmentation", "ml"),
    "contrast": ("contrast of the mask on FLAIR", ""),
    "true_contrast": ("contrast of the manual mask on FLAIR", ""),
    "empty_share": ("share of passes without a lesion", ""),
    **FEATURES,
}
