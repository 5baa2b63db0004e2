"""`cnnjobs inspect`: look at one image, or at a data set before training on it."""

import functools
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnjobs.config import InspectConfig
from cnnjobs.data import dataset_summary, plots, sources
from cnnjobs.data.dataset_summary import ClassSummary, Copy
from cnnjobs.errors import ImageError, InputError
from cnnjobs.imaging import depth, statistics
from cnnjobs.imaging import plots as image_plots
from cnnjobs.imaging.decoder import read_many
from cnnjobs.imaging.headers import Header
from cnnjobs.imaging.statistics import Levels, Measurements
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import apart, filesystem, s3

NO_LABEL = "no label"

#: Images per class in the sample grid, and the largest number of classes in it.
_SAMPLES, _CLASSES_SHOWN = 4, 10

#: Files read between two reports of progress.
_FILES_PER_REPORT = 256

_PNGS = ("classes.png", "samples.png", "sizes.png", "intensities.png")


@dataclass(frozen=True, kw_only=True)
class ImageSummary:
    """One image: its header, its upright size, and the gray levels of its pixels as stored.

    `steps` says what was done to the stored samples, in order.
    """

    path: str
    size_bytes: int
    header: Header
    width: int
    height: int
    levels: Levels
    warning: str | None
    steps: Sequence[str]
    plot: str | None


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What to know about a data set before training on it.

    `counts` are by class and split, `sources` by source and class.
    """

    data: str
    num_images: int
    counts: Mapping[str, Mapping[str, int]]
    classes: Mapping[str, ClassSummary]
    sources: Mapping[str, Mapping[str, int]]
    warnings: Sequence[str]
    copies: Sequence[Copy]
    unreadable: Mapping[str, str]
    plots: Sequence[str]


def plan(config: InspectConfig) -> dict[str, Any]:
    """The plan for `--dry-run`: no image is opened, nothing is written."""
    s3.use(**config.s3)
    data = filesystem.normalize(config.data)
    if _is_image(data):
        return {"image": data, "plot": next(iter(_plot_files(config)), None)}
    rows = sources.open_data(data, for_training=False, **config.chosen).table
    labels = Counter(label or NO_LABEL for label in rows["label"].to_pylist())
    return {"images": rows.num_rows, "labels": dict(labels), "plots": _plot_files(config)}


def inspect(config: InspectConfig, progress: Progress = silent) -> ImageSummary | DataSummary:
    """Inspect an image, or all images of a folder, a prefix or a manifest.

    Raises:
        InputError: the data do not exist, none of the images can be read, or a plot cannot be
            written.
    """
    s3.use(**config.s3)
    data = filesystem.normalize(config.data)
    if _is_image(data):
        return _inspect_image(data, config.max_bytes, *_plot_files(config))
    return _inspect_data(data, config, progress)


def _is_image(data: str) -> bool:
    suffix = os.path.splitext(data)[1].lower()  # noqa: PTH122 - perhaps on S3
    return suffix not in (".parquet", ".tar", ".zip") and filesystem.is_file(data)


def _inspect_image(path: str, max_bytes: int, plot: str | None = None) -> ImageSummary:
    try:
        header, picture, size_bytes = statistics.open_image(path, max_bytes)
    except ImageError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    settled = depth.settled(picture)
    if plot is not None:
        filesystem.write_bytes(
            plot,
            image_plots.to_bytes(plots.image_and_histogram(settled.gray, path.rpartition("/")[2])),
        )
    return ImageSummary(
        path=path,
        size_bytes=size_bytes,
        header=header,
        width=picture.width,
        height=picture.height,
        levels=statistics.levels(picture.gray),
        warning=settled.warning,
        steps=picture.steps,
        plot=plot,
    )


def _inspect_data(data: str, config: InspectConfig, progress: Progress) -> DataSummary:
    files = _plot_files(config)
    columns = ["path", "label", "source", "split"]
    rows = (
        sources.open_data(data, for_training=False, **config.chosen)
        .table.select(columns)
        .to_pylist()
    )
    for row in rows:
        row["label"] = row["label"] or NO_LABEL
    images: list[Measurements] = []
    paths = [row["path"] for row in rows]
    remote = any(filesystem.is_s3(path) for path in paths)
    measure = functools.partial(statistics.measure, max_bytes=config.max_bytes)
    for image in read_many(paths, measure, remote=remote):
        images.append(image)
        if len(images) % _FILES_PER_REPORT == 0 or len(images) == len(rows):
            progress("inspect", len(images), len(rows))
    by_class: dict[str, list[Measurements]] = defaultdict(list)
    for row, image in zip(rows, images, strict=True):
        if image.error is None:
            by_class[row["label"]].append(image)
    unreadable = {image.path: image.error for image in images if image.error is not None}
    if not by_class:
        raise InputError(
            f"none of the {len(rows)} images can be read; the first is {images[0].path} "
            f"({images[0].error})."
        )
    ordered = {label: by_class[label] for label in sorted(by_class)}
    counts, by_source = _counted(rows, unreadable)
    classes = {label: dataset_summary.class_summary(members) for label, members in ordered.items()}
    if files:
        _draw(counts, ordered, files, config.seed)
    return DataSummary(
        data=data,
        num_images=len(rows),
        counts=counts,
        classes=classes,
        sources=by_source,
        warnings=[
            *dataset_summary.source_warnings(by_source),
            *dataset_summary.file_warnings(classes),
        ],
        copies=dataset_summary.copies(rows, images),
        unreadable=unreadable,
        plots=files,
    )


def _plot_files(config: InspectConfig) -> list[str]:
    """The files to draw: one for an image, four for a data set."""
    if config.plot is None:
        return []
    plot = filesystem.normalize(config.plot)
    is_one = _is_image(filesystem.normalize(config.data))
    files = [plot] if is_one else [filesystem.join(plot, name) for name in _PNGS]
    for file in files:
        apart.check_file(file, [config.data], mark=image_plots.MARK, kind="a plot of cnnjobs")
    return files


def _counted(
    rows: Sequence[Mapping[str, Any]], unreadable: Mapping[str, str]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Images by class and split, and by source and class."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    by_source: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        state = "unreadable" if row["path"] in unreadable else row["split"] or "no split"
        counts[row["label"]][state] += 1
        by_source[row["source"]][row["label"]] += 1
    return (
        {label: dict(counts[label]) for label in sorted(counts)},
        {source: dict(sorted(labels.items())) for source, labels in by_source.items()},
    )


def _draw(
    counts: Mapping[str, Mapping[str, int]],
    by_class: Mapping[str, Sequence[Measurements]],
    files: Sequence[str],
    seed: int,
) -> None:
    """Write the four plots."""
    sizes = {
        label: [(image.width, image.height) for image in members]
        for label, members in by_class.items()
    }
    means = {
        label: [image.levels.mean for image in members if image.levels is not None]
        for label, members in by_class.items()
    }
    shares = {
        label: np.mean(
            [image.histogram for image in members if image.histogram is not None], axis=0
        )
        for label, members in by_class.items()
    }
    drawn = [
        plots.class_counts(counts),
        plots.grid(_sampled(by_class, seed), columns=_SAMPLES),
        plots.sizes(sizes),
        plots.intensities(shares, means),
    ]
    for file, figure in zip(files, drawn, strict=True):
        filesystem.write_bytes(file, image_plots.to_bytes(figure))


def _sampled(by_class: Mapping[str, Sequence[Measurements]], seed: int) -> list[tuple[str, Any]]:
    """Some images of each class with their titles, drawn at random."""
    rng = np.random.default_rng(seed)
    pictures = []
    for label in list(by_class)[:_CLASSES_SHOWN]:
        images = by_class[label]
        for index in rng.permutation(len(images))[:_SAMPLES]:
            pixels = statistics.thumbnail(images[index].path)
            if pixels is not None:
                pictures.append((f"{label}\n{images[index].path.rpartition('/')[2][:28]}", pixels))
    return pictures
