"""The verdict of an audit: what is left of a score without the lungs. Pure numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnjobs.metrics import Bootstrap, Interval, weighted
from cnnjobs.metrics.bootstrap import Statistic, interval, resampled
from cnnjobs.metrics.weighted import Floats

SHORTCUT, NONE_FOUND, UNDECIDED = "shortcut", "none found", "undecided"

#: A shortcut is at least so much of the score, and clearly better than chance: the interval of
#: the AUROC without the lungs begins so far above 0.5.
LEAST_SHARE, LEAST_DISTANCE = 1 / 3, 0.05

#: None is found only where the interval leaves no room for so much of the score.
MOST_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """The AUROC on changed images, and how much of the unchanged ones' score that is.

    Attributes:
        name: of the change.
        auroc: None where it is undefined.
        low: end of its 95 % interval, None where there is none.
        high: the other end.
        share: (AUROC - 0.5) / (AUROC unchanged - 0.5), below 0 where scores are turned round.
    """

    name: str
    auroc: float | None
    low: float | None
    high: float | None
    share: float | None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What a score is made of.

    Attributes:
        verdict: shortcut, none found or undecided.
        surviving_share: of the score without the lungs, 0 to 1; None where there is no score
            to speak of.
        surviving_interval: where 95 % of the resamples have that share, not clipped and below
            0 where scores are turned round.
        line: the verdict as one sentence.
        rows: unchanged, every change, then the trivial features.
        border: width of what is left without the lungs, in shares of the image's sides.
        num_images: that were scored.
        num_groups: of them.
        num_left_out: images of the split that were not, as a large set is drawn from and some
            cannot be read.
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


def judge(
    scores: Mapping[str, NDArray[np.float32]],
    positive: NDArray[np.bool_],
    bootstrap: Bootstrap,
    *,
    without_lungs: str,
    without_picture: str,
    border: float,
    num_left_out: int = 0,
) -> Audit:
    """Compare scores of changed images with those of unchanged ones.

    Args:
        scores: (N,) by the change's name, the unchanged images' first.
        positive: which of the N images are.
        bootstrap: how to make intervals.
        without_lungs: the change that leaves nothing of them.
        without_picture: the scores that were made without looking, if there are any.
        border: see `Audit`.
        num_left_out: see `Audit`.
    """
    rows, shares = _compared(scores, positive, bootstrap)
    by_name = {row.name: row for row in rows}
    whole, without = rows[0], by_name[without_lungs]
    survived = shares.get(without_lungs)
    reason = _no_score(whole, positive, bootstrap)
    if reason is None and survived is not None:
        verdict, told = _ruled(whole, without, by_name.get(without_picture), survived, bootstrap)
    else:
        verdict, told = UNDECIDED, f"undecided: {reason}"
    return Audit(
        verdict=verdict,
        surviving_share=None if reason is not None else _survives(without),
        surviving_interval=None if reason is not None else survived,
        line=f"audit: {told}.",
        rows=rows,
        border=border,
        num_images=len(positive),
        num_groups=len(set(bootstrap.groups)),
        num_left_out=num_left_out,
    )


def _compared(
    scores: Mapping[str, NDArray[np.float32]], positive: NDArray[np.bool_], bootstrap: Bootstrap
) -> tuple[list[AuditRow], Mapping[str, Interval | None]]:
    """A row a change, and the intervals of the shares, of the same resamples for all."""
    unchanged = next(iter(scores))

    def aurocs(weights: Floats) -> dict[str, Floats]:
        return {
            name: weighted.auroc(*weighted.by_score(its.astype(np.float64), positive, weights))
            for name, its in scores.items()
        }

    def shares(weights: Floats) -> dict[str, Floats]:
        found = aurocs(weights)
        return {
            name: weighted.ratio(its - 0.5, found[unchanged] - 0.5) for name, its in found.items()
        }

    once = np.ones((1, len(positive)))
    values, parts = aurocs(once), shares(once)
    ends = _intervals(aurocs, bootstrap)
    rows = [
        AuditRow(
            name=name,
            auroc=_known(values[name]),
            low=_end(ends.get(name), 0),
            high=_end(ends.get(name), 1),
            share=_known(parts[name]),
        )
        for name in scores
    ]
    return rows, _intervals(shares, bootstrap)


def _intervals(statistic: Statistic, bootstrap: Bootstrap) -> dict[str, Interval | None]:
    return {name: interval(values) for name, values in resampled(statistic, bootstrap).items()}


def _no_score(whole: AuditRow, positive: NDArray[np.bool_], bootstrap: Bootstrap) -> str | None:
    """Why nothing can be said, None if something can."""
    if positive.all() or not positive.any():
        return "all images are of one class"
    if bootstrap.refused:
        return bootstrap.refused
    if whole.auroc is None or whole.low is None or whole.high is None:
        return "there are no intervals without resamples"
    if whole.low <= 0.5:
        return (
            f"the AUROC of {whole.auroc:.2f} ({whole.low:.2f} to {whole.high:.2f}) is not clearly "
            "above chance, so there is no score whose origin could be told"
        )
    return None


def _ruled(
    whole: AuditRow,
    without: AuditRow,
    guessed: AuditRow | None,
    survived: Interval,
    bootstrap: Bootstrap,
) -> tuple[str, str]:
    """The verdict and its sentence, where there is a score and its intervals.

    Scores that are turned round survive as much as others, but accuse nobody: exposure follows
    the whole picture, so that a sign that brightens the lungs darkens the border.
    """
    left = _with_ends(without)
    if (without.low or 0) >= 0.5 + LEAST_DISTANCE and _survives(without) >= LEAST_SHARE:
        return SHORTCUT, (
            f"shortcut: {_survives(without):.0%} of the score survives without the lungs "
            f"(AUROC {whole.auroc:.2f}, with all but the border painted over {left})"
        )
    if guessed is not None and (guessed.auroc or 0) >= (whole.auroc or 0):
        return UNDECIDED, (
            f"undecided: who sees no picture, but size, gray and file, reaches an AUROC of "
            f"{_with_ends(guessed)}, the model {whole.auroc:.2f}"
        )
    if max(abs(end) for end in survived) < MOST_SHARE:
        return NONE_FOUND, (
            f"no shortcut found: the AUROC of {whole.auroc:.2f} becomes {left} with all but the "
            "border painted over"
        )
    if survived[1] < 0:
        return UNDECIDED, (
            f"undecided: with all but the border painted over the AUROC of {whole.auroc:.2f} is "
            f"turned round, {left}: the border tells the classes, perhaps by its exposure"
        )
    most = min(1.0, max(abs(end) for end in survived))
    return UNDECIDED, (
        f"undecided: {max(0.0, survived[0]):.0%} to {most:.0%} of the score may survive without "
        f"the lungs; {len(bootstrap.groups)} images of {len(set(bootstrap.groups))} groups do not "
        "tell it closer"
    )


def _survives(row: AuditRow) -> float:
    return min(1.0, abs(row.share or 0.0))


def _with_ends(row: AuditRow) -> str:
    return f"{row.auroc:.2f} ({row.low:.2f} to {row.high:.2f})"


def _known(values: Floats) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])


def _end(interval: Interval | None, place: int) -> float | None:
    return None if interval is None else interval[place]
