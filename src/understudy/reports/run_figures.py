"""Every figure of one training run, by the name it has in a report; each is None where its data are missing."""

from understudy.reports.class_figures import confusion, per_class_change
from understudy.reports.label_figures import label_distribution, pseudo_labels, pseudo_labels_by_class, rounds
from understudy.reports.model_figures import accuracies, confidence, learning_curves, reliability, robustness

__all__ = [
    "accuracies",
    "confidence",
    "confusion",
    "label_distribution",
    "learning_curves",
    "per_class_change",
    "pseudo_labels",
    "pseudo_labels_by_class",
    "reliability",
    "robustness",
    "rounds",
]
