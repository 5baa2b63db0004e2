"""Which images a page shows, and what it says of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs.models.bundle import Bundle

#: So many images have a picture of their own in the dialog, those to look at first.
NUM_LARGE = 300

#: Half of them of the most wrong, half of the most certain.
NUM_EXPLAINED = 24

#: An image is uncertain where the odds of what is predicted are within this factor (its
#: logarithm) of the odds at the threshold.
_UNCERTAIN_LOGIT = 1.0

_SCORES = ("probability", "probabilities")

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is known of each row, in columns of one length.

    Attributes:
        rows: the prediction rows.
        is_error: it has no score.
        is_wrong: label and prediction differ.
        is_uncertain: it lies near the threshold.
        certainty: distance from the threshold in logits; 0 without a score.
        wrongness: 1 minus the probability of the label; -1 where either is not known.
    """

    rows: pa.Table
    is_error: NDArray[np.bool_]
    is_wrong: NDArray[np.bool_]
    is_uncertain: NDArray[np.bool_]
    certainty: _Floats
    wrongness: _Floats

    @property
    def counts(self) -> dict[str, int]:
        """Images by what is remarkable of them; one may count twice."""
        return {
            "wrong": int(self.is_wrong.sum()),
            "uncertain": int(self.is_uncertain.sum()),
            "without a score": int(self.is_error.sum()),
        }


def judge(rows: pa.Table, bundle: Bundle | None) -> Judged:
    """Compare rows with their labels and the threshold; without a bundle, with labels only."""
    is_error = _booleans(pc.is_valid(rows["error"]))
    is_wrong = _booleans(pc.not_equal(rows["label"], rows["prediction"]))
    certainty, wrongness = np.zeros(rows.num_rows), np.full(rows.num_rows, -1.0)
    is_uncertain = np.zeros(rows.num_rows, bool)
    if bundle is not None and rows.num_rows:
        certainty, of_label = _read_scores(rows, bundle)
        certainty[is_error] = 0
        has_label = ~is_error & _booleans(pc.is_in(rows["label"], pa.array(bundle.labels)))
        wrongness[has_label] = 1 - of_label[has_label]
        is_uncertain = ~is_error & (certainty < _UNCERTAIN_LOGIT)
    return Judged(
        rows=rows,
        is_error=is_error,
        is_wrong=is_wrong,
        is_uncertain=is_uncertain,
        certainty=certainty,
        wrongness=wrongness,
    )


def select(judged: Judged, max_images: int, *, seed: int) -> NDArray[np.int64]:
    """Places of the rows to show, first those to look at: wrong, failed, uncertain, the rest.

    Within each of the four the order is drawn at random.
    """
    ranks = np.select([judged.is_wrong, judged.is_error, judged.is_uncertain], [0, 1, 2], 3)
    drawn = np.random.default_rng(seed).random(len(ranks))
    return np.lexsort((drawn, ranks))[:max_images]


def to_explain(judged: Judged, places: NDArray[np.int64]) -> list[str]:
    """Paths of the most wrong and of the most certain of the places, each class in its turn."""
    half = NUM_EXPLAINED // 2
    scored = places[~judged.is_error[places]]
    wrong = scored[judged.is_wrong[scored]]
    wrong = wrong[np.argsort(-judged.wrongness[wrong], kind="stable")][:half]
    rest = scored[~judged.is_wrong[scored]]
    rest = rest[np.argsort(-judged.certainty[rest], kind="stable")]
    turns: dict[str | None, int] = {}
    order = []
    for place, prediction in zip(rest, _texts(judged.rows, "prediction", rest), strict=True):
        turns[prediction] = turns.get(prediction, 0) + 1
        order.append((turns[prediction], place))
    certain = [place for _, place in sorted(order, key=lambda item: item[0])][:half]
    return [str(path) for path in _texts(judged.rows, "path", np.array([*wrong, *certain], int))]


def entries(
    judged: Judged, places: NDArray[np.int64], splits: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    """What the page knows of each image it shows, in the order of the places."""
    rows = judged.rows.take(pa.array(places)).to_pylist()
    told = []
    for rank, (place, row) in enumerate(zip(places, rows, strict=True)):
        score = {name: _rounded(row[name]) for name in _SCORES if name in row}
        told.append(
            {
                **row,
                **score,
                "split": splits.get(row["path"]),
                "wrong": bool(judged.is_wrong[place]),
                "uncertain": bool(judged.is_uncertain[place]),
                "certainty": round(float(judged.certainty[place]), 4),
                "wrongness": round(float(judged.wrongness[place]), 4),
                "is_large": rank < NUM_LARGE,
            }
        )
    return told


def told(judged: Judged, num_shown: int, seed: int) -> str:
    """The sentence that says which images are shown."""
    total = judged.rows.num_rows
    if num_shown == total:
        return f"All {total:,} scored images."
    remarkable = int((judged.is_wrong | judged.is_error | judged.is_uncertain).sum())
    what = "wrong, without a score or uncertain"
    if num_shown <= remarkable:
        return (
            f"{num_shown:,} of {total:,} scored images, drawn with seed {seed}: of the "
            f"{remarkable:,} that are {what}, in this order, as many as --max-images allows."
        )
    return (
        f"{num_shown:,} of {total:,} scored images: all {remarkable:,} that are {what}, and "
        f"{num_shown - remarkable:,} of the others, drawn with seed {seed}."
    )


def _read_scores(rows: pa.Table, bundle: Bundle) -> tuple[_Floats, _Floats]:
    """Certainty of each row, and the probability of its label."""
    labels = rows["label"].to_pylist()
    if bundle.positive is not None:
        positive = rows["probability"].fill_null(0.5).to_numpy().astype(np.float64)
        of_label = np.where([label == bundle.positive for label in labels], positive, 1 - positive)
        return np.abs(_logit(positive) - _logit(np.float64(bundle.threshold))), of_label
    failed = [1 / len(bundle.labels)] * len(bundle.labels)
    probabilities = np.array([row or failed for row in rows["probabilities"].to_pylist()])
    index = {label: place for place, label in enumerate(bundle.labels)}
    columns = np.array([index.get(label, 0) for label in labels])
    of_label = probabilities[np.arange(len(labels)), columns]
    return np.maximum(_logit(probabilities.max(axis=1)), 0), of_label


def _rounded(score: Any) -> Any:
    """To what a page shows: the digits behind would be half of its bytes."""
    if isinstance(score, list):
        return [_rounded(each) for each in score]
    return None if score is None else round(score, 4)


def _logit(probability: Any) -> _Floats:
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float64)


def _booleans(column: Any) -> NDArray[np.bool_]:
    """A column of truth values, null as false."""
    return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False), bool)


def _texts(rows: pa.Table, name: str, places: NDArray[np.int64]) -> Sequence[str | None]:
    texts: list[str | None] = rows[name].take(pa.array(places, pa.int64())).to_pylist()
    return texts
