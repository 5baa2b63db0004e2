"""`cnnjobs inspect`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typer import Argument

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import OutputOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import class_counts, counts, examples, source_counts, table
from cnnjobs.config import InspectConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.data.dataset_summary import Copy, Spread
    from cnnjobs.data.inspect import DataSummary, ImageSummary


@job(
    app,
    "inspect",
    InspectConfig,
    options={
        "data": Argument(
            metavar="IMAGE|DATA",
            help="One image, or a manifest.parquet, a folder, an archive or s3://bucket/prefix.",
        ),
        "plot": OutputOption(
            metavar="FILE|DIR",
            help="IMAGE: draw it with a color bar and its 256-bin histogram (.png). DATA: write "
            "classes.png, samples.png, sizes.png and intensities.png.",
        ),
    },
)
def inspect() -> Job:
    """Describe an image, or a data set before training on it.

    IMAGE: size, gray levels, bit depth, format, and the EXIF and DICOM attributes that matter
    (no identifiers).

    DATA: sizes and gray levels of each class, copies across classes and splits, unreadable
    files, and whether an image's source reveals its class. Reads every file.

    cnnjobs inspect manifest.parquet --plot plots
    """
    from cnnjobs.data import inspect as module

    return Job(module.inspect, module.plan, inspect_text)


def inspect_text(summary: "ImageSummary | DataSummary") -> str:
    """The summary of one image, or of a data set."""
    from cnnjobs.data.inspect import ImageSummary

    return _image_text(summary) if isinstance(summary, ImageSummary) else _data_text(summary)


def _image_text(summary: "ImageSummary") -> str:
    """Size and gray levels in the words of the lab sheet, then the header."""
    header, levels = summary.header, summary.levels
    depth = f"{header.bits} bits per sample" if header.bits is not None else "depth not stated"
    parts = [
        f"{summary.path}: {header.format.upper()}, {depth}, {header.color or 'color not stated'}, "
        f"{summary.size_bytes:,} bytes",
        f"{summary.height} pixels height and {summary.width} pixels width",
        f"max {levels.max}, min {levels.min}, mean {levels.mean:.4f}, "
        f"standard deviation {levels.sd:.4f}",
        *(f"{name}: {value}" for name, value in header.tags.items()),
    ]
    if summary.steps:
        parts += ["pixels:", *(f"  {step}" for step in summary.steps)]
    if summary.warning:
        parts.append(f"warning: {summary.warning}")
    if summary.plot:
        parts.append(f"plot: {summary.plot}")
    return "\n".join(parts)


def _data_text(summary: "DataSummary") -> str:
    """The classes, the sources, and what to fix before training."""
    parts = [
        f"{counted(summary.num_images, 'image')} in {summary.data}",
        class_counts(summary.counts),
        _sizes(summary),
        source_counts(summary.sources),
        *(f"warning: {warning}" for warning in summary.warnings),
        *_copies(summary.copies),
    ]
    if summary.unreadable:
        parts.append(f"unreadable: {len(summary.unreadable)}")
        parts += examples([f"{path} ({error})" for path, error in summary.unreadable.items()])
    parts += [f"plot: {file}" for file in summary.plots]
    return "\n".join(parts)


def _sizes(summary: "DataSummary") -> str:
    """One row per class: formats, and the median and range of each quantity."""
    rows = [
        [
            label,
            counts(images.formats),
            _range(images.width),
            _range(images.height),
            _range(images.mean),
            _range(images.sd),
        ]
        for label, images in summary.classes.items()
    ]
    return table(["class", "format", "width", "height", "mean gray", "sd of gray"], rows)


def _copies(copies: Sequence["Copy"]) -> list[str]:
    """How many there are, and examples, those across classes and splits first."""
    exact = sum(copy.exact for copy in copies)
    classes = sum(copy.across_classes for copy in copies)
    splits = sum(copy.across_splits for copy in copies)
    worst = sorted(copies, key=lambda copy: -(copy.across_classes + copy.across_splits))
    return [
        f"pairs of copies: {exact} exact, {len(copies) - exact} near; {classes} across classes, "
        f"{splits} across splits",
        *examples([_pair(copy) for copy in worst]),
    ]


def _pair(copy: "Copy") -> str:
    kind = ["exact" if copy.exact else "near"]
    kind += ["across classes"] if copy.across_classes else []
    kind += ["across splits"] if copy.across_splits else []
    return f"{copy.path} and {copy.copy_of} ({', '.join(kind)})"


def _range(spread: "Spread") -> str:
    return f"{spread.median:.0f} ({spread.min:.0f} to {spread.max:.0f})"
