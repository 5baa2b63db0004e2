"""Names and digits of metrics and figures, as the page shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

#: Metrics at the top of the page, for two classes and for more.
BINARY_KEY_METRICS = ("auroc", "sensitivity", "specificity")
MULTICLASS_KEY_METRICS = ("accuracy", "macro_f1", "auroc")

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


def display_name(name: str) -> str:
    """The name of a metric or figure as people write it."""
    return _NAMES.get(name, name.replace("_", " ").capitalize())


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def interval(bounds: Sequence[float] | None) -> str:
    """Both bounds, or a dash."""
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def bounds(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The interval of a row that has `low` and `high`."""
    return None if row["low"] is None else (row["low"], row["high"])
