"""The baseline to beat: a classifier that sees an image's size, format and gray levels only."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnjobs.imaging import formats
from cnnjobs.imaging.preprocessing import Decoded

_FOLDS = 5


class Features(NamedTuple):
    """What is known about an image without its content."""

    width: int
    height: int
    size_bytes: int
    mean: float
    sd: float
    format: str


def features(data: bytes, decoded: Decoded) -> Features:
    """The features of one file; gray levels are of the model's input."""
    return Features(
        width=decoded.width,
        height=decoded.height,
        size_bytes=len(data),
        mean=float(decoded.pixels.mean()),
        sd=float(decoded.pixels.std()),
        format=formats.recognize(data),
    )


def out_of_fold_scores(
    images: Sequence[Features],
    positive: NDArray[np.bool_],
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> NDArray[np.float32] | None:
    """Scores (N,) of a logistic regression that has not seen the image's group.

    Fitted on four fifths of the groups to score the other fifth. None if a class has too few
    groups.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    group_names = np.asarray(groups, dtype=str)
    num_groups = [len(set(group_names[positive == side])) for side in (True, False)]
    if min(num_groups) < _FOLDS:
        return None
    matrix = _feature_matrix(images)
    scores = np.zeros(len(images), np.float32)
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for fitted, held_out in folds.split(matrix, positive, group_names):
        if len(set(positive[fitted])) < 2:
            return None
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(matrix[fitted], positive[fitted])
        scores[held_out] = model.decision_function(matrix[held_out])
    return scores


def _feature_matrix(images: Sequence[Features]) -> NDArray[np.float64]:
    """One row per image: logarithms of sizes and aspect ratio, gray levels, one-hot formats."""
    names = sorted({image.format for image in images})
    rows = [
        [
            *np.log([image.width, image.height, image.width / image.height, image.size_bytes]),
            image.mean,
            image.sd,
            *(float(image.format == name) for name in names),
        ]
        for image in images
    ]
    return np.array(rows)
