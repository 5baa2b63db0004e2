"""Commands that list images and look at them: `index`, `inspect`, `fetch`."""

from typing import Annotated

from typer import Argument, Option

from cnnjobs.cli import inspect as inspected
from cnnjobs.cli import tables
from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.options import AnyModality, Overwrite, Seed
from cnnjobs.cli.runner import Stage
from cnnjobs.config import FetchConfig, IndexConfig, InspectConfig


@job(app, IndexConfig)
def index(
    sources: Annotated[
        list[str] | None,
        Argument(metavar="SRC", help="Folders or s3:// prefixes, one subfolder a class."),
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", help="The manifest to write (.parquet).")
    ] = None,
    labels: Annotated[
        bool, Option(help="Take the class from the folder right below SRC.")
    ] = IndexConfig.labels,
    groups: Annotated[
        str | None,
        Option(help="CSV with the columns path (relative to SRC) and group, the patient."),
    ] = IndexConfig.groups,
    group_regex: Annotated[
        str | None, Option(help="Regular expression whose (group) in the file name is the patient.")
    ] = IndexConfig.group_regex,
    group_key: Annotated[
        str | None,
        Option(metavar="FILE", help="Secret key: a DICOM patient's group is a hash under it."),
    ] = IndexConfig.group_key,
    source_regex: Annotated[
        str | None,
        Option(help="Regular expression whose (group) in the path inside SRC is the source."),
    ] = IndexConfig.source_regex,
    any_modality: AnyModality = IndexConfig.any_modality,
    split: Annotated[
        bool, Option(help="Split labelled images into train, validation and test.")
    ] = IndexConfig.split,
    validation: Annotated[
        float, Option(help="Share of the images for validation.")
    ] = IndexConfig.validation,
    test: Annotated[float, Option(help="Share of the images for the test.")] = IndexConfig.test,
    content: Annotated[
        bool,
        Option(help="Read every file: find copies and unreadable images. Off: list only."),
    ] = IndexConfig.content,
    seed: Seed = IndexConfig.seed,
    overwrite: Overwrite = IndexConfig.overwrite,
) -> Stage:
    """List, label, group and split images once.

    Images of one group (a patient) stay in one split. Without --groups or --group-regex every
    image is its own group, but DICOM files with the same PatientID share one. Exact and near
    copies always share a group. The split depends on names, labels and the seed only.

    The source of an image, the collection it comes from, is the SRC it was found in, or what
    --source-regex captures. Of several a table of sources and classes is shown.

    cnnjobs index xrays/ -o manifest.parquet --groups patients.csv
    """
    from cnnjobs.data import index as stage

    return Stage(stage.index, stage.plan, tables.index_text)


@job(app, InspectConfig)
def inspect(
    data: Annotated[
        str | None,
        Argument(
            metavar="IMAGE|DATA",
            help="One image; or a manifest.parquet, a folder or s3://bucket/prefix.",
        ),
    ] = None,
    plot: Annotated[
        str | None,
        Option(
            metavar="FILE|DIR",
            help="IMAGE: draw it with a color bar and its 256-bin histogram (.png). DATA: write "
            "classes.png, samples.png, sizes.png and intensities.png.",
        ),
    ] = InspectConfig.plot,
    seed: Seed = InspectConfig.seed,
) -> Stage:
    """Look at an image, or at data before training on it.

    IMAGE: size, gray levels, depth, format, essentials of EXIF and DICOM (no identifiers).

    DATA: sizes and gray levels of each class, copies across classes and splits, unreadable
    files, and whether the source of an image tells its class. Reads every file.

    cnnjobs inspect manifest.parquet --plot look
    """
    from cnnjobs.data import inspect as stage

    return Stage(stage.inspect, stage.plan, inspected.describe)


@job(app, FetchConfig)
def fetch(
    dataset: Annotated[
        str | None, Argument(metavar="mnist|covid", help="The public set to fetch.")
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", help="Directory to write: images and manifest.")
    ] = None,
    source: Annotated[
        str | None,
        Option(
            "--from",
            help="What you have already, instead of a download. mnist: mnist.npz, or a folder "
            "with the four idx files (plain or .gz). covid: the zip, or its folder.",
        ),
    ] = FetchConfig.source,
    validation: Annotated[
        float | None,
        Option(
            help="Share for validation. Default: 0.0833 of mnist's training images, 0.15 of covid.",
        ),
    ] = FetchConfig.validation,
    limit: Annotated[
        int | None,
        Option(help="mnist: only so many images of training and test, for quick runs."),
    ] = FetchConfig.limit,
    seed: Seed = FetchConfig.seed,
    overwrite: Overwrite = FetchConfig.overwrite,
) -> Stage:
    """Get the lab sheet's sets, with a manifest.

    mnist: 70,000 handwritten digits; the 10,000 official test images are the test split.
    covid: the chest X-rays from Kaggle (pip install 'cnnjobs[kaggle]'), split as `index` does.
    Leaves images, one folder a class, and manifest.parquet.

    cnnjobs fetch mnist -o digits
    """
    from cnnjobs.data import fetch as stage

    return Stage(stage.fetch, stage.plan, tables.fetch_text)
