"""The verdict of an audit: how much of a score survives without the lungs. Pure numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.evaluation import alarms
from cnnjobs.metrics import Bootstrap, Interval, weighted
from cnnjobs.metrics.bootstrap import interval, resampled
from cnnjobs.metrics.share_intervals import of_auroc
from cnnjobs.metrics.weighted import Floats
from cnnjobs.models.external_tests import CHANCE

SHORTCUT, NONE_FOUND, UNDECIDED = "shortcut", "none found", "undecided"

#: A shortcut is at least this share of the score and clearly better than chance: the interval of
#: the AUROC without the lungs starts this far above 0.5.
LEAST_SHARE, LEAST_DISTANCE = 1 / 3, 0.05

#: None is found only if the interval rules out this share of the score.
MOST_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """The AUROC on changed images, and its share of the score on unchanged ones.

    Attributes:
        name: of the change.
        auroc: None if undefined.
        low: lower bound of its 95% interval; None without an interval.
        high: upper bound.
        share: (AUROC - 0.5) / (AUROC unchanged - 0.5), negative if scores are reversed.
    """

    name: str
    auroc: float | None
    low: float | None
    high: float | None
    share: float | None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What a score depends on.

    Attributes:
        verdict: shortcut, none found or undecided.
        surviving_share: of the score without the lungs, 0 to 1; None if there is no signal to
            audit.
        surviving_interval: 95% interval of that share, not clipped and negative if scores are
            reversed.
        line: the verdict as one sentence.
        rows: unchanged, every change, then the trivial features.
        border: width of the border that remains without the lungs, as a fraction of the sides.
        num_images: scored images.
        num_groups: their groups.
        num_left_out: images of the split that were not scored: unreadable, or not sampled from a
            large split.
        give_aways: what reveals the class without the lungs: source, size, format.
    """

    verdict: str
    surviving_share: float | None
    surviving_interval: Interval | None
    line: str
    rows: Sequence[AuditRow]
    border: float
    num_images: int
    num_groups: int
    num_left_out: int
    give_aways: Sequence[str] = ()


def judge(
    scores: Mapping[str, NDArray[np.float32]],
    positive: NDArray[np.bool_],
    bootstrap: Bootstrap,
    *,
    without_lungs: str,
    without_pixels: str,
    border: float,
    num_left_out: int = 0,
    give_aways: Sequence[str] = (),
) -> Audit:
    """Compare scores of changed images with those of unchanged ones.

    Args:
        scores: (N,) by name of the change, the unchanged images first.
        positive: (N,), which images are positive.
        bootstrap: for the intervals.
        without_lungs: the change that hides the lungs.
        without_pixels: the scores of the trivial baseline, if there are any.
        border: see `Audit`.
        num_left_out: see `Audit`.
        give_aways: see `Audit`.
    """
    rows, shares = _compare(scores, positive, bootstrap)
    by_name = {row.name: row for row in rows}
    unchanged, remaining = rows[0], by_name[without_lungs]
    share_interval = shares.get(without_lungs)
    reason = _why_undecidable(unchanged, positive, bootstrap)
    if reason is None and share_interval is not None:
        baseline = by_name.get(without_pixels)
        verdict, sentence = _decide(unchanged, remaining, baseline, share_interval, bootstrap)
    else:
        verdict, sentence = UNDECIDED, f"undecided: {reason}"
    return Audit(
        verdict=verdict,
        surviving_share=None if reason is not None else _surviving_share(remaining),
        surviving_interval=None if reason is not None else share_interval,
        line=f"audit: {sentence}.",
        rows=rows,
        border=border,
        num_images=len(positive),
        num_groups=len(set(bootstrap.groups)),
        num_left_out=num_left_out,
        give_aways=give_aways,
    )


def _compare(
    scores: Mapping[str, NDArray[np.float32]], positive: NDArray[np.bool_], bootstrap: Bootstrap
) -> tuple[list[AuditRow], Mapping[str, Interval | None]]:
    """One row per change, and the intervals of the shares from the same resamples for all."""
    unchanged = next(iter(scores))

    def aurocs(weights: Floats) -> dict[str, Floats]:
        return {
            name: weighted.auroc(*weighted.by_score(values.astype(np.float64), positive, weights))
            for name, values in scores.items()
        }

    def shares(weights: Floats) -> dict[str, Floats]:
        by_name = aurocs(weights)
        return {
            name: weighted.ratio(values - 0.5, by_name[unchanged] - 0.5)
            for name, values in by_name.items()
        }

    all_once = np.ones((1, len(positive)))
    auroc_of, share_of = aurocs(all_once), shares(all_once)
    intervals = (
        {}
        if bootstrap.refused or not bootstrap.resamples
        else {
            name: of_auroc(values, positive, bootstrap.group_of) for name, values in scores.items()
        }
    )
    rows = [
        AuditRow(
            name=name,
            auroc=_defined(auroc_of[name]),
            low=_bound(intervals.get(name), 0),
            high=_bound(intervals.get(name), 1),
            share=_defined(share_of[name]),
        )
        for name in scores
    ]
    found = resampled(shares, bootstrap)
    return rows, {name: interval(values) for name, values in found.items()}


def _why_undecidable(
    unchanged: AuditRow, positive: NDArray[np.bool_], bootstrap: Bootstrap
) -> str | None:
    """Why no verdict is possible, or None if one is."""
    if positive.all() or not positive.any():
        return "all images are of one class"
    if bootstrap.refused:
        return bootstrap.refused
    if unchanged.auroc is None or unchanged.low is None or unchanged.high is None:
        return "without resamples there are no intervals"
    if unchanged.high < CHANCE:
        return alarms.below_chance(unchanged.auroc, (unchanged.low, unchanged.high))
    if unchanged.low <= CHANCE:
        return (
            f"the AUROC of {_with_interval(unchanged)} is not clearly above chance: no signal to "
            "audit"
        )
    return None


def _decide(
    unchanged: AuditRow,
    remaining: AuditRow,
    baseline: AuditRow | None,
    share_interval: Interval,
    bootstrap: Bootstrap,
) -> tuple[str, str]:
    """The verdict and its sentence, given a signal and its intervals.

    Reversed scores survive as much as others but are no proof of a shortcut: exposure depends on
    the whole image, so a finding that brightens the lungs darkens the border.
    """
    without_lungs = _with_interval(remaining)
    share = _surviving_share(remaining)
    if (remaining.low or 0) >= 0.5 + LEAST_DISTANCE and share >= LEAST_SHARE:
        return SHORTCUT, (
            f"shortcut: {share:.0%} of the score survives without the lungs "
            f"(AUROC {unchanged.auroc:.2f}, with only the border visible {without_lungs})"
        )
    if baseline is not None and (baseline.auroc or 0) >= (unchanged.auroc or 0):
        return UNDECIDED, (
            "undecided: a baseline that sees only size, gray levels and format reaches an AUROC "
            f"of {_with_interval(baseline)}, the model {unchanged.auroc:.2f}"
        )
    if max(abs(bound) for bound in share_interval) < MOST_SHARE:
        return NONE_FOUND, (
            f"no shortcut found: the AUROC of {unchanged.auroc:.2f} drops to {without_lungs} with "
            "only the border visible"
        )
    if share_interval[1] < 0:
        return UNDECIDED, (
            f"undecided: with only the border visible, the AUROC of {unchanged.auroc:.2f} reverses "
            f"to {without_lungs}: the border separates the classes, perhaps by its exposure"
        )
    most = min(1.0, max(abs(bound) for bound in share_interval))
    return UNDECIDED, (
        f"undecided: {max(0.0, share_interval[0]):.0%} to {most:.0%} of the score may survive "
        f"without the lungs; {len(bootstrap.groups)} images from {len(set(bootstrap.groups))} "
        "groups are too few to decide"
    )


def _surviving_share(row: AuditRow) -> float:
    return min(1.0, abs(row.share or 0.0))


def _with_interval(row: AuditRow) -> str:
    return f"{row.auroc:.2f} ({row.low:.2f} to {row.high:.2f})"


def _defined(values: Floats) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])


def _bound(interval: Interval | None, index: int) -> float | None:
    return None if interval is None else interval[index]
