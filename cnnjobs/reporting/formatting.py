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
    """Two decimals, as in the sentences of an audit; only 0 and 1 themselves are 0.00 and 1.00."""
    if value is None:
        return "undefined"
    if 0 < abs(value) < 0.005:
        return "<0.01" if value > 0 else ">-0.01"
    return ">0.99" if 0.995 <= value < 1 else f"{value:.2f}"


def interval(bounds: Sequence[float] | None) -> str:
    """Both bounds, or that there are none."""
    return "none" if bounds is None else f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def with_interval(value: float | None, ends: Sequence[float] | None) -> str:
    """The value and, if there is one, its interval in brackets."""
    return number(value) + (f" ({interval(ends)})" if ends is not None else "")


def bounds(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The interval of a row that has `low` and `high`."""
    return None if row["low"] is None else (row["low"], row["high"])
