"""Which images a page shows, and what it says about each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cnnjobs.models.bundle import Bundle

#: The first images, those most worth seeing, also get an image for the dialog.
NUM_LARGE = 300

#: Images with a heat map: half of them the most wrong, half the most certain.
NUM_EXPLAINED = 24

#: A prediction is uncertain if its odds are within this factor (as a logarithm) of the odds at
#: the threshold.
_UNCERTAIN_LOGIT = 1.0

_SCORES = ("probability", "probabilities")

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class JudgedRows:
    """Prediction rows and, in columns of the same length, how right and certain each is.

    Attributes:
        rows: the prediction rows.
        is_error: there is no score.
        is_wrong: label and prediction differ.
        is_uncertain: the probability is near the threshold.
        certainty: distance from the threshold in logits; 0 without a score.
        wrongness: 1 minus the probability of the label; -1 if either is unknown.
    """

    rows: pa.Table
    is_error: NDArray[np.bool_]
    is_wrong: NDArray[np.bool_]
    is_uncertain: NDArray[np.bool_]
    certainty: _Floats
    wrongness: _Floats

    @property
    def counts(self) -> dict[str, int]:
        """Images by what is notable about them; one may count twice."""
        return {
            "wrong": int(self.is_wrong.sum()),
            "uncertain": int(self.is_uncertain.sum()),
            "without a score": int(self.is_error.sum()),
        }


def judge(rows: pa.Table, bundle: Bundle | None) -> JudgedRows:
    """Compare rows with their labels and, given a bundle, with its threshold."""
    is_error = _booleans(pc.is_valid(rows["error"]))
    is_wrong = _booleans(pc.not_equal(rows["label"], rows["prediction"]))
    certainty, wrongness = np.zeros(rows.num_rows), np.full(rows.num_rows, -1.0)
    is_uncertain = np.zeros(rows.num_rows, bool)
    if bundle is not None and rows.num_rows:
        certainty, label_probability = _read_scores(rows, bundle)
        certainty[is_error] = 0
        has_label = ~is_error & _booleans(pc.is_in(rows["label"], pa.array(bundle.labels)))
        wrongness[has_label] = 1 - label_probability[has_label]
        is_uncertain = ~is_error & (certainty < _UNCERTAIN_LOGIT)
    return JudgedRows(
        rows=rows,
        is_error=is_error,
        is_wrong=is_wrong,
        is_uncertain=is_uncertain,
        certainty=certainty,
        wrongness=wrongness,
    )


def select(judged: JudgedRows, max_images: int, *, seed: int) -> NDArray[np.int64]:
    """Indices of the rows to show: wrong ones first, then failed, uncertain, and the rest.

    Each of the four is in random order.
    """
    ranks = np.select([judged.is_wrong, judged.is_error, judged.is_uncertain], [0, 1, 2], 3)
    shuffled = np.random.default_rng(seed).random(len(ranks))
    return np.lexsort((shuffled, ranks))[:max_images]


def to_explain(judged: JudgedRows, indices: NDArray[np.int64]) -> list[str]:
    """Paths of the most wrong of these rows, and of the most certain, from each class in turn."""
    half = NUM_EXPLAINED // 2
    scored = indices[~judged.is_error[indices]]
    wrong = scored[judged.is_wrong[scored]]
    wrong = wrong[np.argsort(-judged.wrongness[wrong], kind="stable")][:half]
    rest = scored[~judged.is_wrong[scored]]
    rest = rest[np.argsort(-judged.certainty[rest], kind="stable")]
    turns: dict[str | None, int] = {}
    order = []
    for index, prediction in zip(rest, _texts(judged.rows, "prediction", rest), strict=True):
        turns[prediction] = turns.get(prediction, 0) + 1
        order.append((turns[prediction], index))
    certain = [index for _, index in sorted(order, key=lambda item: item[0])][:half]
    return [str(path) for path in _texts(judged.rows, "path", np.array([*wrong, *certain], int))]


def entries(
    judged: JudgedRows, indices: NDArray[np.int64], splits: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    """What the page knows about each image it shows, in the order of `indices`."""
    rows = judged.rows.take(pa.array(indices)).to_pylist()
    return [
        {
            **row,
            **{name: _rounded(row[name]) for name in _SCORES if name in row},
            "split": row.pop("set", None) or splits.get(row["path"]),
            "wrong": bool(judged.is_wrong[index]),
            "uncertain": bool(judged.is_uncertain[index]),
            "certainty": round(float(judged.certainty[index]), 4),
            "wrongness": round(float(judged.wrongness[index]), 4),
            "is_large": rank < NUM_LARGE,
        }
        for rank, (index, row) in enumerate(zip(indices, rows, strict=True))
    ]


def describe_selection(judged: JudgedRows, num_shown: int, seed: int) -> str:
    """One sentence about which images are shown."""
    total = judged.rows.num_rows
    if num_shown == total:
        return f"All {total:,} scored images."
    num_notable = int((judged.is_wrong | judged.is_error | judged.is_uncertain).sum())
    notable = f"{num_notable:,} that are wrong, without a score or uncertain"
    if num_shown <= num_notable:
        return (
            f"{num_shown:,} of {total:,} scored images, as many as --max-images allows: drawn with "
            f"seed {seed} from the {notable}, in this order."
        )
    return (
        f"{num_shown:,} of {total:,} scored images: all {notable}, and "
        f"{num_shown - num_notable:,} others drawn with seed {seed}."
    )


def _read_scores(rows: pa.Table, bundle: Bundle) -> tuple[_Floats, _Floats]:
    """Certainty of each row, and the probability of its label."""
    labels = rows["label"].to_pylist()
    if bundle.positive is not None:
        positive = rows["probability"].fill_null(0.5).to_numpy().astype(np.float64)
        of_label = np.where([label == bundle.positive for label in labels], positive, 1 - positive)
        return np.abs(_logit(positive) - _logit(np.float64(bundle.threshold))), of_label
    uniform = [1 / len(bundle.labels)] * len(bundle.labels)
    probabilities = np.array([row or uniform for row in rows["probabilities"].to_pylist()])
    column_of = {label: column for column, label in enumerate(bundle.labels)}
    columns = np.array([column_of.get(label, 0) for label in labels])
    of_label = probabilities[np.arange(len(labels)), columns]
    return np.maximum(_logit(probabilities.max(axis=1)), 0), of_label


def _rounded(score: Any) -> Any:
    """The four decimals that a page shows; the others would be half of its bytes."""
    if isinstance(score, list):
        return [_rounded(each) for each in score]
    return None if score is None else round(score, 4)


def _logit(probability: Any) -> _Floats:
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float64)


def _booleans(column: Any) -> NDArray[np.bool_]:
    """A boolean column, null as false."""
    return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False), bool)


def _texts(rows: pa.Table, name: str, indices: NDArray[np.int64]) -> Sequence[str | None]:
    texts: list[str | None] = rows[name].take(pa.array(indices, pa.int64())).to_pylist()
    return texts
