"""Metrics and figures by the names and in the digits that a page gives them."""

from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "ppv": "PPV",
    "npv": "NPV",
    "ppv_at_prevalence": "PPV at the stated prevalence",
    "npv_at_prevalence": "NPV at the stated prevalence",
    "f1": "F1",
    "macro_f1": "Macro F1",
    "mcc": "MCC",
    "ece": "ECE",
    "ece_uncalibrated": "ECE, uncalibrated",
    "brier": "Brier score",
    "brier_uncalibrated": "Brier score, uncalibrated",
    "roc": "ROC curve",
    "confusion": "Confusion matrix",
    "precision_recall": "Precision and recall",
    "reliability": "Reliability diagram",
    "crossval": "Cross-validation",
}

#: The key figures at the head of the page, of two and of more classes.
KEY = (("auroc", "sensitivity", "specificity"), ("accuracy", "macro_f1", "auroc"))


def named(name: str) -> str:
    """A metric's or a figure's name as people write it."""
    return _NAMES.get(name, name.replace("_", " ").capitalize())


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def interval(ends: Sequence[float] | None) -> str:
    """Both ends, or a dash."""
    return "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def ends(told: Mapping[str, Any]) -> tuple[float, float] | None:
    """The ends of an interval that stand under their names."""
    return None if told["low"] is None else (told["low"], told["high"])
