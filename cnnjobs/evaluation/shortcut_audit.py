"""Whether a model's score comes from the lungs, or from how and where the images were made.

A test set is scored again with parts of the images taken away (`changes`). What is still right
with all but the border painted over was not read from the lungs (`verdicts`).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs.errors import ImageError, InputError
from cnnjobs.evaluation import labelled_set, occlusion, shortcut_verdict, trivial_baseline
from cnnjobs.evaluation.occlusion import Images
from cnnjobs.evaluation.shortcut_verdict import Audit
from cnnjobs.imaging import reading
from cnnjobs.inference.predictor import open_engine
from cnnjobs.metrics import Bootstrap, calibration
from cnnjobs.models import openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent

UNCHANGED, TRIVIAL = "unchanged", "no picture: size, gray, file"

BORDER = 0.125

#: More images would tell little more: an interval of 2,000 is some 0.05 wide.
MOST_IMAGES = 2000

#: Pixels held at once, which of large images may be fewer.
_MOST_BYTES = 512 << 20

#: Changed at once, in batches of the engine.
_IMAGES_AT_ONCE = 128

Score = Callable[[Images], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The images of an audit that can be read: (N, height, width, 1) pixels, and what they are."""

    pixels: Images
    labels: Sequence[str]
    groups: Sequence[str]
    features: Sequence[trivial_baseline.Features]


def audited(
    bundle: Bundle,
    rows: pa.Table,
    *,
    engine: str = "auto",
    resamples: int = 1000,
    seed: int = 0,
    border: float = BORDER,
    batch_size: int = 32,
    progress: Progress = silent,
) -> Audit:
    """Score labelled images of a manifest whole and changed, in this process, and compare.

    Args:
        bundle: of two classes.
        rows: with path, label and group.
        engine: openvino, keras, or auto.
        resamples: of the intervals, over groups.
        seed: of all that is random.
        border: width of what is left without the lungs, in shares of the image's sides.
        batch_size: images scored at once.
        progress: told after every change.

    Raises:
        InputError: a bundle of more classes, or no image can be read.
    """
    images = load(bundle, rows, seed=seed)
    score = scorer(bundle, engine=engine, batch_size=batch_size)
    return compare(
        images,
        score,
        positive=str(bundle.positive),
        resamples=resamples,
        seed=seed,
        border=border,
        num_left_out=rows.num_rows - len(images.labels),
        progress=progress,
    )


def compare(
    images: Loaded,
    score: Score,
    *,
    positive: str,
    resamples: int = 1000,
    seed: int = 0,
    border: float = BORDER,
    num_left_out: int = 0,
    progress: Progress = silent,
) -> Audit:
    """The audit of any function that gives (N,) probabilities of `positive`; see `audited`."""
    height, width = images.pixels.shape[1:3]
    ways = occlusion.ways(height, width, border=border, seed=seed)
    scores = {UNCHANGED: score(images.pixels)}
    for done, (name, change) in enumerate(ways.items(), start=1):
        progress("audit", done, len(ways) + 1)
        scores[name] = _changed_scores(images.pixels, change, score)
    is_positive = np.array([label == positive for label in images.labels], dtype=bool)
    guessed = trivial_baseline.guesses(images.features, is_positive, images.groups, seed=seed)
    if guessed is not None:
        scores[TRIVIAL] = guessed
    progress("audit", len(ways) + 1, len(ways) + 1)
    return shortcut_verdict.judge(
        scores,
        is_positive,
        Bootstrap(groups=images.groups, resamples=resamples, seed=seed),
        without_lungs=occlusion.BORDER_ONLY,
        without_picture=TRIVIAL,
        border=border,
        num_left_out=num_left_out,
    )


def check(bundle: Bundle) -> None:
    """Raise InputError for a bundle that cannot be audited."""
    if bundle.positive is None:
        raise InputError(
            f"an audit is of two classes, the bundle has {len(bundle.labels)}; use cnnjobs "
            "evaluate."
        )


def load(bundle: Bundle, rows: pa.Table, *, seed: int = 0) -> Loaded:
    """Read the images, of a large set those that a draw chooses; unreadable ones are left out.

    Raises:
        InputError: a bundle of more than two classes, or none can be read.
    """
    check(bundle)
    wanted = bundle.preprocessing
    most = max(1, min(MOST_IMAGES, _MOST_BYTES // (wanted.height * wanted.width)))
    if rows.num_rows > most:
        drawn = np.random.default_rng(seed).permutation(rows.num_rows)[:most]
        rows = rows.take(np.sort(drawn))
    items = rows.select(["path", "label", "group"]).to_pylist()
    read = zip(items, _read(bundle, [item["path"] for item in items]), strict=True)
    kept = [(item, *found) for item, found in read if not isinstance(found, ImageError)]
    if not kept:
        raise InputError(
            f"none of the {len(items)} images can be read, {items[0]['path']} the first; "
            "cnnjobs inspect says why."
        )
    return Loaded(
        pixels=np.stack([pixels for _, pixels, _ in kept]),
        labels=[item["label"] for item, _, _ in kept],
        groups=[item["group"] or item["path"] for item, _, _ in kept],
        features=[features for _, _, features in kept],
    )


def scorer(bundle: Bundle, *, engine: str = "auto", batch_size: int = 32) -> Score:
    """The bundle's model in this process: (N, height, width, 1) to (N,) probabilities."""
    if engine == "auto":
        export = openvino_export.find(bundle)
        engine = "keras" if export is None or export.refused is not None else "openvino"
    opened = open_engine(bundle, engine, batch_size=batch_size, threads=os.cpu_count() or 1)

    def score(images: Images) -> NDArray[np.float32]:
        return calibration.scaled(opened.scores(images), bundle.temperature)[:, 0]

    return score


def _changed_scores(
    images: Images, change: Callable[[Images], Images], score: Score
) -> NDArray[np.float32]:
    """Scores of changed images, few of which are there at once."""
    starts = range(0, len(images), _IMAGES_AT_ONCE)
    return np.concatenate(
        [score(change(images[start : start + _IMAGES_AT_ONCE])) for start in starts]
    )


def _read(
    bundle: Bundle, paths: Sequence[str]
) -> Iterator[tuple[Images, trivial_baseline.Features] | ImageError]:
    """Pixels and trivial features of each file, in order."""

    def read_one(path: str) -> tuple[Images, trivial_baseline.Features] | ImageError:
        try:
            data = reading.read_image(path)
        except ImageError as error:
            return error
        decoded = reading.decoded(data, bundle.preprocessing, labelled_set.POLICY)
        if isinstance(decoded, ImageError):
            return decoded
        return decoded.pixels, trivial_baseline.features(data, decoded)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(read_one, paths)
