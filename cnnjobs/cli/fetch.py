"""`cnnjobs fetch`."""

from typing import TYPE_CHECKING

from typer import Argument, Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import class_counts
from cnnjobs.config import FetchConfig
from cnnjobs.config.printable import counted

if TYPE_CHECKING:
    from cnnjobs.data.fetch import FetchSummary


@job(
    app,
    "fetch",
    FetchConfig,
    options={
        "dataset": Argument(metavar="mnist|covid", help="Public data set to fetch."),
        "output": Option(
            "--output", "-o", metavar="DIR", help="Directory to write: images and their manifest."
        ),
        "source": Option(
            "--from",
            metavar="PATH",
            help="Use local files instead of downloading. mnist: mnist.npz, or a folder with the "
            "four idx files (plain or .gz). covid: the zip file, or its unpacked folder.",
        ),
        "validation": Option(
            metavar="SHARE",
            help="Share for validation. Default: 0.0833 of mnist's training images, 0.15 of covid.",
        ),
        "limit": Option(
            metavar="IMAGES",
            help="mnist: take only this many training and this many test images, for quick runs.",
        ),
    },
)
def fetch() -> Job:
    """Get the data sets of the lab sheet, with a manifest.

    mnist: 70,000 handwritten digits; the 10,000 official test images are the test split.
    covid: the chest X-rays from Kaggle (pip install 'cnnjobs[kaggle]'), split as `index` does.
    Writes the images, in one folder per class, and manifest.parquet.

    cnnjobs fetch mnist -o digits
    """
    from cnnjobs.data import fetch as module

    return Job(module.fetch, module.plan, fetch_text)


def fetch_text(summary: "FetchSummary") -> str:
    """Counts per class and split, and where the images and the manifest are."""
    parts = [
        f"{counted(summary.num_images, 'image')} of {summary.dataset} in {summary.seconds:.1f} s",
        class_counts(summary.counts),
        f"copies: {summary.num_exact_copies} exact",
    ]
    if summary.unreadable:
        parts.append(f"unreadable: {len(summary.unreadable)}")
    return "\n".join([*parts, f"images: {summary.archive}", f"manifest: {summary.manifest}"])
