"""What scores and features are called in reports, with their unit."""

from __future__ import annotations

from wmhqc.features import FEATURES

#: The score that predicts the Dice of any segmentation, and on which the verdict rests.
SCORE = "predicted_dice_bounded"
LABELS = {
    "predicted_dice_bounded": ("predicted Dice, from the mask and FLAIR", ""),
    "predicted_dice_image": ("predicted Dice, from prediction and FLAIR", ""),
    "predicted_dice_uncertainty": ("predicted Dice, from prediction and uncertainty", ""),
    "predicted_dice_error": ("predicted Dice, from prediction and error map", ""),
    "expected_dice": ("expected Dice, from the probabilities alone", ""),
    "volume_on_scan_ml": ("lesion volume, on the scan's grid", "ml"),
    "expected_dice_scaled": ("expected Dice, from calibrated probabilities", ""),
    "agreement_dice": ("Dice with our own segmentation", ""),
    "volume_ml": ("lesion volume", "ml"),
    "own_volume_ml": ("lesion volume of our own segmentation", "ml"),
    "brain_share": ("lesion share of the brain", ""),
    "lesion_count": ("number of lesions", ""),
    "contrast": ("contrast of the mask on FLAIR", ""),
    "vs_uncertainty": ("sum of the uncertainty map (VS)", "mm³ bit"),
    "vs_residual": ("VS beyond what the volume explains", ""),
    "vs_per_volume": ("uncertainty per lesion volume", "bit"),
    "mean_entropy": ("mean uncertainty in the mask", "bit"),
    "non_boundary_entropy": ("mean uncertainty off the borders", "bit"),
    "patch_entropy": ("highest uncertainty of a 10 mm cube", "bit"),
    "mean_variance": ("variance of the passes in the mask", ""),
    "mean_expected_entropy": ("mean entropy of single passes in the mask", "bit"),
    "mean_mutual_information": ("mutual information in the mask", "bit"),
    "pairwise_dice": ("Dice between passes", ""),
    "empty_share": ("share of passes without a lesion", ""),
    "iou_disagreement": ("disagreement of passes with the mask (1 − IoU)", ""),
    "volume_cv": ("spread of the passes' volume", ""),
    "lesion_uncertainty": ("mean uncertainty of a lesion", ""),
    "vs_error": ("sum of the error map (VS)", "mm³"),
    "vs_error_inside": ("sum of the error map in the mask", "mm³"),
    "tta_pairwise_dice": ("Dice between changed inputs", ""),
    "tta_vs_uncertainty": ("VS over changed inputs", "mm³ bit"),
    "ensemble_pairwise_dice": ("Dice between networks", ""),
    "ensemble_vs_uncertainty": ("VS over networks", "mm³ bit"),
} | FEATURES
