"""Metrics of parts of a test set, by columns of its manifest: `evaluate --by`."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import metrics
from cnnjobs.errors import InputError
from cnnjobs.evaluation import prediction_metrics
from cnnjobs.metrics import Bootstrap, Difference, Interval, Metrics
from cnnjobs.models.bundle import Bundle

#: Metrics of a subgroup, for two classes and for more.
_SHOWN, _SHOWN_OF_MANY = ("auroc", "sensitivity", "specificity"), ("accuracy", "macro_f1", "auroc")

#: More are not subgroups but measurements, which have to be cut.
MAX_SUBGROUPS = 20

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """The images with one value of a column; see `metrics.Metrics`."""

    value: str
    num_images: int
    num_groups: int
    counts: Mapping[str, int]
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    no_intervals: str | None


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The largest difference of a metric between two subgroups that have an interval of it.

    The largest of several differences is larger than 0 by chance, too: its 95% interval is that of
    a single difference.
    """

    metric: str
    highest: str
    lowest: str
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Subgroups by one column, and their largest gaps; images of unknown value have none."""

    by: str
    subgroups: Sequence[Subgroup]
    gaps: Sequence[Gap]


def check(by: Sequence[str], rows: pa.Table) -> None:
    """Raise InputError unless a manifest's rows can be broken down by these columns."""
    for each in by:
        subgroup_of(each, rows)


def break_down(
    by: str, rows: pa.Table, scored: pa.Table, bundle: Bundle, bootstrap: Bootstrap
) -> Breakdown:
    """The metrics of each subgroup.

    Args:
        by: `COLUMN`, or `COLUMN:CUT,...` for numbers.
        rows: of the manifest, with the column.
        scored: prediction rows with a label and a score.
        bundle: of the model.
        bootstrap: of all scored rows.
    """
    value_of = dict(zip(rows["path"].to_pylist(), subgroup_of(by, rows), strict=True))
    values = [value_of[path] for path in scored["path"].to_pylist()]
    measured: dict[str, Metrics] = {}
    subgroups = []
    for number, value in enumerate(_ordered(by, values)):
        mine = [index for index, other in enumerate(values) if other == value]
        part = scored.take(mine)
        groups = [bootstrap.groups[index] for index in mine]
        found = prediction_metrics.measure(
            part,
            bundle,
            bootstrap=Bootstrap(
                groups=groups, resamples=bootstrap.resamples, seed=bootstrap.seed + number
            ),
        )
        measured[value] = found
        shown = _SHOWN if bundle.positive is not None else _SHOWN_OF_MANY
        subgroups.append(
            Subgroup(
                value=value,
                num_images=len(mine),
                num_groups=len(set(groups)),
                counts=dict(Counter(part["label"].to_pylist()).most_common()),
                metrics={name: found.values.get(name) for name in shown},
                intervals={name: found.intervals.get(name) for name in shown},
                no_intervals=found.no_intervals,
            )
        )
    return Breakdown(by=by, subgroups=subgroups, gaps=_gaps(subgroups, measured))


def subgroup_of(by: str, rows: pa.Table) -> list[str]:
    """The subgroup of each row of a manifest.

    Raises:
        InputError: the column is missing or has too many values, or a cut is no number.
    """
    name, _, cuts = by.partition(":")
    if name not in rows.column_names:
        raise InputError(
            f"the manifest has no column {name}; break down by one of "
            f"{', '.join(rows.column_names)}."
        )
    column = rows[name]
    if not cuts:
        values = [UNKNOWN if value is None else str(value) for value in column.to_pylist()]
        if len(set(values)) > MAX_SUBGROUPS:
            raise InputError(
                f"column {name} has {len(set(values))} values, at most {MAX_SUBGROUPS} can be "
                f"broken down; cut numbers as in --by {name}:40,60."
            )
        return values
    edges = _edges(by, cuts)
    try:
        numbers = pc.cast(column, pa.float64()).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(
            f"column {name} has values that are no numbers ({error}); leave out the cuts."
        ) from error
    names = range_names(edges)
    return [
        UNKNOWN if number is None or number != number else names[sum(number >= at for at in edges)]
        for number in numbers
    ]


def range_names(edges: Sequence[float]) -> list[str]:
    """Names of the ranges between edges, each with its lower edge, in ascending order."""
    inner = [f"{low:g} to below {high:g}" for low, high in itertools.pairwise(edges)]
    return [f"below {edges[0]:g}", *inner, f"{edges[-1]:g} or above"]


def _edges(by: str, cuts: str) -> list[float]:
    try:
        edges = [float(cut) for cut in cuts.split(",")]
    except ValueError:
        edges = []
    if not edges or any(low >= high for low, high in itertools.pairwise(edges)):
        raise InputError(f"cuts must be numbers in ascending order, such as age:40,60, got {by}.")
    return edges


def _ordered(by: str, values: Sequence[str]) -> list[str]:
    """The subgroups that occur: ranges ascending, others by name; unknown last."""
    _, _, cuts = by.partition(":")
    known = range_names(_edges(by, cuts)) if cuts else sorted(set(values) - {UNKNOWN})
    return [value for value in [*known, UNKNOWN] if value in set(values)]


def _gaps(subgroups: Sequence[Subgroup], measured: Mapping[str, Metrics]) -> list[Gap]:
    gaps = []
    for name in subgroups[0].metrics if subgroups else ():
        values = {
            each.value: value
            for each in subgroups
            for value in [each.metrics[name]]
            if value is not None and each.intervals[name] is not None and each.value != UNKNOWN
        }
        if len(values) < 2:
            continue
        highest, lowest = (
            max(values, key=lambda key: values[key]),
            min(values, key=lambda key: values[key]),
        )
        found = metrics.differences(measured[highest], measured[lowest], paired=False)
        gaps.append(Gap(metric=name, highest=highest, lowest=lowest, difference=found[name]))
    return gaps
