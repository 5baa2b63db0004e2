"""`cnnjobs index`."""

from typing import TYPE_CHECKING

from typer import Argument

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import ImageOption, LabelOption, OutputOption, SplitOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import class_counts, examples, largest_first, source_counts
from cnnjobs.config import IndexConfig

if TYPE_CHECKING:
    from cnnjobs.data.index import IndexSummary


@job(
    app,
    "index",
    IndexConfig,
    options={
        "sources": Argument(
            metavar="SRC", help="Folders or s3:// prefixes, with one subfolder per class."
        ),
        "output": OutputOption(
            "--output", "-o", metavar="FILE", help="Manifest to write (.parquet)."
        ),
        "labels": LabelOption(help="Label images by the folder directly below SRC."),
        "groups": LabelOption(
            metavar="FILE",
            help="CSV with the columns path (relative to SRC) and group (the patient).",
        ),
        "group_regex": LabelOption(
            metavar="REGEX",
            help="Regular expression whose (group) captures the patient from the file name.",
        ),
        "group_key": LabelOption(
            metavar="FILE",
            help="Secret key: DICOM images are grouped by a keyed hash of the patient.",
        ),
        "source_regex": LabelOption(
            metavar="REGEX",
            help="Regular expression whose (group) captures the source from the path inside SRC.",
        ),
        "split": SplitOption(help="Split labelled images into train, validation and test."),
        "validation": SplitOption(metavar="SHARE", help="Share of images for validation."),
        "test": SplitOption(metavar="SHARE", help="Share of images for the test."),
        "content": ImageOption(
            help="Read every file to find copies and unreadable images, or only list the files."
        ),
    },
)
def index() -> Job:
    """List, label, group and split images once.

    All images of a group (a patient) go to the same split. Without --groups or --group-regex,
    every image is its own group, except that DICOM files with the same PatientID share one.
    Exact and near copies always share a group. The split depends only on names, labels and the
    seed.

    The source of an image is the collection it comes from: the SRC it was found in, or what
    --source-regex captures. With several sources, a table of sources and classes is printed.

    cnnjobs index xrays/ -o manifest.parquet --groups patients.csv
    """
    from cnnjobs.data import index as module

    return Job(module.index, module.plan, index_text)


def index_text(summary: "IndexSummary") -> str:
    """Counts per class and split, and what to check before training."""
    parts = [f"{summary.num_images} images in {summary.num_groups} groups"]
    if summary.counts:
        parts.append(class_counts(summary.counts))
    if len(summary.sources) > 1:
        parts.append(source_counts(summary.sources))
    parts += [f"warning: {warning}" for warning in summary.warnings]
    if summary.num_unlabelled:
        parts.append(f"without a label (not split): {summary.num_unlabelled}")
    parts.append(f"copies: {summary.num_exact_copies} exact, {summary.num_near_copies} near")
    if summary.mixed_labels:
        parts.append(
            f"copies with different labels: {len(summary.mixed_labels)}, for example "
            f"{' and '.join(summary.mixed_labels[0])}"
        )
    if summary.unreadable:
        parts.append(f"unreadable: {len(summary.unreadable)}")
        parts += examples([f"{path} ({error})" for path, error in summary.unreadable.items()])
    if summary.ignored:
        parts.append(f"ignored: {largest_first(summary.ignored)}")
    parts.append(f"manifest: {summary.manifest}")
    return "\n".join(parts)
