"""What `cnnjobs evaluate` reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnnjobs.evaluation.operating_points import OperatingPoint, PrevalencePoint
from cnnjobs.evaluation.shortcut_verdict import Audit
from cnnjobs.evaluation.subgroups import Breakdown
from cnnjobs.metrics import Difference, Interval


@dataclass(frozen=True, kw_only=True)
class SetSummary:
    """Metrics of one set, with 95% intervals that allow for its groups.

    Images without a score are only counted. See `metrics.Metrics`; for `alarms`, `alarms`.
    """

    num_images: int
    num_groups: int
    num_failed: int
    num_unlabelled: int
    counts: Mapping[str, int]
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    no_intervals: str | None
    undefined: str | None
    confusion: Mapping[str, Mapping[str, int]]
    warning: str | None
    alarms: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class BesideSummary(SetSummary):
    """The same model on all of another set, and what it loses there.

    `drops` are the test metrics minus those of this set; for errors (Brier score, ECE) a loss is
    negative. `predictions` is the file of its rows in the run.
    """

    data: str
    drops: Mapping[str, Difference]
    predictions: str | None


@dataclass(frozen=True, kw_only=True)
class WrongPrediction:
    """A misclassified image, and the probability of the prediction."""

    path: str
    label: str
    prediction: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class EvaluateSummary(SetSummary):
    """Metrics of one model on one split.

    `prevalence` is the requested one, `plots` are files in the run's folder `plots`. `most_wrong`
    are the misclassified images whose own class got the lowest probability, with the probability
    of the prediction. `prevalence_curve` is there if a prevalence was requested.
    """

    bundle: str
    model: str
    split: str
    positive: str | None
    threshold: float
    temperature: float
    prevalence: float | None
    most_wrong: Sequence[WrongPrediction]
    plots: Sequence[str]
    beside: Sequence[BesideSummary]
    subgroups: Sequence[Breakdown] = ()
    operating_points: Sequence[OperatingPoint] = ()
    prevalence_curve: Sequence[PrevalencePoint] = ()
    audit: Audit | None
    output: str | None
