"""What a classifier reaches that never looks at the picture: the baseline to beat."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnjobs.imaging import formats
from cnnjobs.imaging.preprocessing import Decoded

_FOLDS = 5


class Features(NamedTuple):
    """What can be said of an image without its content."""

    width: int
    height: int
    size_bytes: int
    mean: float
    sd: float
    format: str


def features(data: bytes, decoded: Decoded) -> Features:
    """Those of one file; gray levels are of the pixels that a model gets."""
    return Features(
        width=decoded.width,
        height=decoded.height,
        size_bytes=len(data),
        mean=float(decoded.pixels.mean()),
        sd=float(decoded.pixels.std()),
        format=formats.recognize(data),
    )


def guesses(
    images: Sequence[Features],
    positive: NDArray[np.bool_],
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> NDArray[np.float32] | None:
    """Scores of a logistic regression that has not seen the image's group; (N,).

    Fitted on four fifths of the groups, for the fifth. None where a class has too few groups.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    group_names = np.asarray(groups, dtype=str)
    sides = [len(set(group_names[positive == side])) for side in (True, False)]
    if min(sides) < _FOLDS:
        return None
    table = _table(images)
    scores = np.zeros(len(images), np.float32)
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for fitted, held in folds.split(table, positive, group_names):
        if len(set(positive[fitted])) < 2:
            return None
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(table[fitted], positive[fitted])
        scores[held] = model.decision_function(table[held])
    return scores


def _table(images: Sequence[Features]) -> NDArray[np.float64]:
    """A row an image; sizes as logarithms, aspect beside them, formats one column each."""
    known = sorted({each.format for each in images})
    rows = [
        [
            *np.log([each.width, each.height, each.width / each.height, each.size_bytes]),
            each.mean,
            each.sd,
            *(float(each.format == name) for name in known),
        ]
        for each in images
    ]
    return np.array(rows)
