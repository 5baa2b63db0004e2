"""`cnnjobs index`."""

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import IMAGES, LABELS, OUTPUT, SPLIT
from cnnjobs.cli.options import AnyModality, Overwrite, Seed
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import class_counts, examples, largest_first, source_counts
from cnnjobs.config import IndexConfig

if TYPE_CHECKING:
    from cnnjobs.data.index import IndexSummary


@job(app, IndexConfig, "index")
def index(
    sources: Annotated[
        list[str] | None,
        Argument(metavar="SRC", help="Folders or s3:// prefixes, with one subfolder per class."),
    ] = None,
    output: Annotated[
        str | None,
        Option(
            "--output",
            "-o",
            metavar="FILE",
            rich_help_panel=OUTPUT,
            help="Manifest to write (.parquet).",
        ),
    ] = None,
    labels: Annotated[
        bool, Option(rich_help_panel=LABELS, help="Label images by the folder directly below SRC.")
    ] = IndexConfig.labels,
    groups: Annotated[
        str | None,
        Option(
            metavar="FILE",
            rich_help_panel=LABELS,
            help="CSV with the columns path (relative to SRC) and group (the patient).",
        ),
    ] = IndexConfig.groups,
    group_regex: Annotated[
        str | None,
        Option(
            metavar="REGEX",
            rich_help_panel=LABELS,
            help="Regular expression whose (group) captures the patient from the file name.",
        ),
    ] = IndexConfig.group_regex,
    group_key: Annotated[
        str | None,
        Option(
            metavar="FILE",
            rich_help_panel=LABELS,
            help="Secret key: DICOM images are grouped by a keyed hash of the patient.",
        ),
    ] = IndexConfig.group_key,
    source_regex: Annotated[
        str | None,
        Option(
            metavar="REGEX",
            rich_help_panel=LABELS,
            help="Regular expression whose (group) captures the source from the path inside SRC.",
        ),
    ] = IndexConfig.source_regex,
    any_modality: AnyModality = IndexConfig.any_modality,
    split: Annotated[
        bool,
        Option(
            rich_help_panel=SPLIT, help="Split labelled images into train, validation and test."
        ),
    ] = IndexConfig.split,
    validation: Annotated[
        float,
        Option(metavar="SHARE", rich_help_panel=SPLIT, help="Share of images for validation."),
    ] = IndexConfig.validation,
    test: Annotated[
        float, Option(metavar="SHARE", rich_help_panel=SPLIT, help="Share of images for the test.")
    ] = IndexConfig.test,
    content: Annotated[
        bool,
        Option(
            rich_help_panel=IMAGES,
            help="Read every file to find copies and unreadable images, or only list the files.",
        ),
    ] = IndexConfig.content,
    seed: Seed = IndexConfig.seed,
    overwrite: Overwrite = IndexConfig.overwrite,
) -> Job:
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
        parts.append(f"ignored, no image suffix: {largest_first(summary.ignored)}")
    parts.append(f"manifest: {summary.manifest}")
    return "\n".join(parts)
