"""What methods report beside their losses, in words for people: logs, displays and reports show no internal name."""

from __future__ import annotations

SHARES = {
    "mask_ratio": "of the unlabeled images used",
    "balanced_mask_ratio": "of the unlabeled images used by the balanced head",
    "real_as_real": "of real images taken for real",
    "generated_as_real": "of generated images taken for real",
    "adversarial": "of the steps with adversarial losses",
    "trained_ratio": "of the unlabeled images trained on",
    "rotation_accuracy": "of the rotations recognized",
    "partner_nearest": "of the views nearest to the other view of their image",
    "edges": "of the pairs of images joined in the graph",
}
"""Follow a percentage."""

MEANS = {
    "mean_weight": "mean weight of the unlabeled images",
    "threshold": "confidence threshold",
    "correlation": "mean correlation of a feature between two views",
    "confidence": "mean confidence of the pseudo-labels",
    "student_gain": "fall of the student's loss by a step",
    "generated_spread": "spread of generated over real images",
}
"""Precede a number."""


def metric_words(name: str, value: float) -> str:
    """A method's own figure as people say it."""
    if name in SHARES:
        return f"{100 * value:.0f} % {SHARES[name]}"
    return f"{MEANS.get(name, name.replace('_', ' '))} {value:.2f}"
