"""Whether a model's score comes from the lungs, or from how and where the images were made.

The images of a test set are scored again with parts of them hidden (`occlusion`). What is still
right with only the border visible was not read from the lungs (`shortcut_verdict`).
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cnnjobs.data import dataset_summary
from cnnjobs.errors import ImageError, InputError
from cnnjobs.evaluation import labelled_set, occlusion, shortcut_verdict, trivial_baseline
from cnnjobs.evaluation.occlusion import Images
from cnnjobs.evaluation.shortcut_verdict import Audit
from cnnjobs.evaluation.trivial_baseline import Features
from cnnjobs.imaging.decoder import read_many
from cnnjobs.inference.predictor import open_engine
from cnnjobs.metrics import Bootstrap, calibration
from cnnjobs.models import openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent

UNCHANGED, TRIVIAL = "unchanged", "no picture: size, gray, file"

BORDER = 0.125

#: More images add little precision: the interval of 2,000 is about 0.05 wide.
MAX_IMAGES = 2000

#: Pixels held at once; large images are limited to fewer.
_MAX_BYTES = 512 << 20

#: Images changed at once, before they are scored in batches.
_IMAGES_AT_ONCE = 128

#: Of the manifest; the last may be missing.
_COLUMNS = ("path", "label", "group", "source")

Score = Callable[[Images], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class LoadedImages:
    """The readable images of an audit: pixels (N, height, width, 1) with labels and features."""

    pixels: Images
    labels: Sequence[str]
    groups: Sequence[str]
    features: Sequence[Features]
    sources: Sequence[str | None] = ()


def audit_rows(
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
    """Score labelled images of a manifest unchanged and changed, in this process, and compare.

    Args:
        bundle: of two classes.
        rows: path, label and group.
        engine: openvino, keras, or auto.
        resamples: of the groups, for intervals.
        seed: for everything random.
        border: width of the visible border, as a fraction of the sides.
        batch_size: images scored at once.
        progress: called after every change.

    Raises:
        InputError: the bundle has more than two classes, or no image can be read.
        SourceError: images cannot be read by a fault that is not theirs.
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
    images: LoadedImages,
    score: Score,
    *,
    positive: str,
    resamples: int = 1000,
    seed: int = 0,
    border: float = BORDER,
    num_left_out: int = 0,
    progress: Progress = silent,
) -> Audit:
    """Audit any function that returns (N,) probabilities of `positive`; see `audit_rows`."""
    height, width = images.pixels.shape[1:3]
    occlusions = occlusion.occlusions(height, width, border=border, seed=seed)
    scores = {UNCHANGED: score(images.pixels)}
    for done, (name, occlude) in enumerate(occlusions.items(), start=1):
        progress("audit", done, len(occlusions) + 1)
        scores[name] = _occluded_scores(images.pixels, occlude, score)
    is_positive = np.array([label == positive for label in images.labels], dtype=bool)
    trivial_scores = trivial_baseline.out_of_fold_scores(
        images.features, is_positive, images.groups, seed=seed
    )
    if trivial_scores is not None:
        scores[TRIVIAL] = trivial_scores
    progress("audit", len(occlusions) + 1, len(occlusions) + 1)
    return shortcut_verdict.judge(
        scores,
        is_positive,
        Bootstrap(groups=images.groups, resamples=resamples, seed=seed),
        without_lungs=occlusion.BORDER_ONLY,
        without_pixels=TRIVIAL,
        border=border,
        num_left_out=num_left_out,
        give_aways=_give_aways(images),
    )


def check(bundle: Bundle) -> None:
    """Raise InputError for a bundle that cannot be audited."""
    if bundle.positive is None:
        raise InputError(
            f"an audit takes models of two classes, this bundle has {len(bundle.labels)}; use "
            "cnnjobs evaluate."
        )


def load(bundle: Bundle, rows: pa.Table, *, seed: int = 0) -> LoadedImages:
    """Read the images, or a random sample of a large set; unreadable ones are left out.

    Raises:
        InputError: the bundle has more than two classes, or no image can be read.
    """
    check(bundle)
    size = bundle.preprocessing
    max_images = max(1, min(MAX_IMAGES, _MAX_BYTES // (size.height * size.width)))
    if rows.num_rows > max_images:
        sample = np.random.default_rng(seed).permutation(rows.num_rows)[:max_images]
        rows = rows.take(np.sort(sample))
    items = rows.select([name for name in _COLUMNS if name in rows.column_names]).to_pylist()
    read = zip(items, _read_all(bundle, [item["path"] for item in items]), strict=True)
    loaded = [(item, *image) for item, image in read if not isinstance(image, ImageError)]
    if not loaded:
        raise InputError(
            f"none of the {len(items)} images can be read, for example {items[0]['path']}; "
            "cnnjobs inspect shows why."
        )
    return LoadedImages(
        pixels=np.stack([pixels for _, pixels, _ in loaded]),
        labels=[item["label"] for item, _, _ in loaded],
        groups=[item["group"] or item["path"] for item, _, _ in loaded],
        features=[features for _, _, features in loaded],
        sources=[item.get("source") for item, _, _ in loaded],
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


def _occluded_scores(
    images: Images, occlude: Callable[[Images], Images], score: Score
) -> NDArray[np.float32]:
    """Scores of occluded images, of which few are held in memory at once."""
    starts = range(0, len(images), _IMAGES_AT_ONCE)
    return np.concatenate(
        [score(occlude(images[start : start + _IMAGES_AT_ONCE])) for start in starts]
    )


def _give_aways(images: LoadedImages) -> list[str]:
    """The warnings of `cnnjobs inspect` on these images."""
    by_class: dict[str, list[Features]] = {}
    for label, features in zip(images.labels, images.features, strict=True):
        by_class.setdefault(label, []).append(features)
    by_source: dict[str, Counter[str]] = {}
    for label, source in zip(images.labels, images.sources, strict=False):
        if source is not None:
            by_source.setdefault(source, Counter())[label] += 1
    return [
        *dataset_summary.source_warnings(by_source),
        *dataset_summary.file_warnings(
            {label: dataset_summary.file_spread(each) for label, each in sorted(by_class.items())}
        ),
    ]


def _read_all(
    bundle: Bundle, paths: Sequence[str]
) -> Iterator[tuple[Images, Features] | ImageError]:
    """Pixels and trivial features of each file, in order."""

    def read_one(path: str) -> tuple[Images, Features] | ImageError:
        read = labelled_set.read_image(path, bundle)
        if isinstance(read, ImageError):
            return read
        data, decoded = read
        return decoded.pixels, trivial_baseline.features(data, decoded)

    return read_many(paths, read_one)
