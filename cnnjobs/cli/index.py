"""`cnnjobs index`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from typer import Argument

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import ImageOption, LabelOption, OutputOption, SplitOption, TableOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import class_counts, counts, examples, largest_first, source_counts
from cnnjobs.config import IndexConfig
from cnnjobs.config.printable import counted

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
        "update": OutputOption(
            "--update",
            help="Bring the manifest up to date: open only files that are new or have changed, and "
            "keep the splits of the others.",
        ),
        "table": TableOption(
            metavar="FILE",
            help="Table of the images (CSV, TSV, Parquet or a text list), which gives labels, "
            "groups, splits and sources in place of the folders. Repeatable.",
        ),
        "layout": TableOption(
            metavar="NAME",
            help="Settings for the tables of a public set, where they are not given: nih14, "
            "chexpert, covidx or ieee8023.",
        ),
        "path_column": TableOption(
            metavar="NAME",
            help="Column of paths, file names or stems; its number if the table has no header. "
            "Default for this and the next four: guessed, and reported; `none`: without.",
        ),
        "label_column": TableOption(metavar="NAME", help="Column of labels."),
        "group_column": TableOption(metavar="NAME", help="Column of patients."),
        "split_column": TableOption(metavar="NAME", help="Column of splits."),
        "source_column": TableOption(metavar="NAME", help="Column of sources."),
        "map": TableOption(
            metavar="OLD=NEW",
            help="Rename a label; `OLD=` leaves its images out, `*` is every other label. "
            "Repeatable.",
        ),
        "where": TableOption(
            metavar="CONDITION",
            help='Rows to use, such as \'view in ("PA", "AP") and age >= 18\'; names with signs '
            "in `backticks`.",
        ),
        "positive_when": TableOption(
            metavar="CONDITION",
            help="Rows that are labelled positive, such as 'Pneumonia == 1', for tables with one "
            "column per finding.",
        ),
        "negative_when": TableOption(
            metavar="CONDITION",
            help="Rows that are labelled negative; what fulfils neither is left out and counted.",
        ),
        "uncertain": TableOption(
            metavar="leave-out|negative|positive",
            help="What -1 means in a column of findings.",
        ),
        "keep": TableOption(
            metavar="NAME[=NEW]",
            help="Other columns to take along. Default: those that describe people or devices and "
            "do not identify a person. Repeatable.",
        ),
        "dicom_key": TableOption(
            metavar="ATTRIBUTE",
            help="What the path column holds for DICOM files: SOPInstanceUID, StudyInstanceUID, "
            "AccessionNumber or PatientID. Default: by the column's name.",
        ),
        "max_unmatched": TableOption(
            metavar="N|P%",
            help="Rows without an image, or images without a row, that are accepted.",
        ),
        "labels": LabelOption(help="Label images by the folder directly below SRC."),
        "groups": LabelOption(
            metavar="[SOURCE=]FILE",
            help="CSV with the columns path (relative to SRC, or a pattern as for --exclude) and "
            "group (the patient); with SOURCE= for the images of one source. Repeatable.",
        ),
        "groups_missing": LabelOption(
            metavar="error|own",
            help="Images without a group: an error, or each its own group.",
        ),
        "group_regex": LabelOption(
            metavar="REGEX",
            help="Regular expression whose (group) captures the patient from the file name, or if "
            "it has a slash, from the path inside SRC.",
        ),
        "group_key": LabelOption(
            metavar="FILE",
            help="Secret key: DICOM images are grouped by a keyed hash of the patient.",
        ),
        "hash_paths": LabelOption(
            metavar="DIR",
            help="Name images, as all later results do, by links in DIR: keyed hashes (of "
            "--group-key) of their paths, and of groups. For folders and files named after "
            "patients.",
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

    Labels in a table: --table takes them from there, and leaves out images without a row.

    cnnjobs index xrays/ -o manifest.parquet --groups patients.csv

    cnnjobs index images/ --table metadata.csv -o manifest.parquet
    """
    from cnnjobs.data import index as module

    return Job(module.index, module.plan, index_text)


def index_text(summary: "IndexSummary") -> str:
    """Counts per class and split, and what to check before training."""
    parts = [f"{counted(summary.num_images, 'image')} in {counted(summary.num_groups, 'group')}"]
    if summary.table is not None:
        parts += table_lines(summary.table)
    if summary.update is not None:
        parts.append("update: " + ", ".join(f"{n} {name}" for name, n in summary.update.items()))
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


def table_lines(table: Mapping[str, Any]) -> list[str]:
    """What was recognized in tables, what does not match, and what was left out."""
    lines = []
    for uri, file in table["files"].items():
        lines.append(f"table: {uri} ({file['form']}), {counted(file['rows'], 'row')}")
        columns = ", ".join(f"{role} from {name}" for role, name in file["columns"].items())
        lines.append(f"  {columns} (matched by {file['matched_by']})")
        without = table["rows_without_image"][uri]
        if without["number"]:
            lines.append(f"  rows without an image: {_named(without)}")
    if table["images_without_row"]["number"]:
        lines.append(f"images without a row: {_named(table['images_without_row'])}")
    left_out = {reason: number for reason, number in table["left_out"].items() if number}
    if left_out:
        lines.append(f"images left out: {counts(left_out)}")
    if table["split"]:
        lines.append(f"split: from {table['split']}")
    if table["kept"]:
        lines.append(f"columns kept: {', '.join(table['kept'])}")
    if table["not_kept"]:
        lines.append(f"columns not kept: {', '.join(table['not_kept'])}")
    return lines


def _named(found: Mapping[str, Any]) -> str:
    return f"{found['number']:,}, such as {', '.join(found['examples'])}"
