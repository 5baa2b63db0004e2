"""`cnnjobs import xrv`."""

from typing import TYPE_CHECKING

from typer import Argument, Option

from cnnjobs.cli.app import imports
from cnnjobs.cli.command import job
from cnnjobs.cli.runner import Job
from cnnjobs.config import ImportXrvConfig

if TYPE_CHECKING:
    from cnnjobs.models.xrv import ImportSummary


@job(
    imports,
    "xrv",
    ImportXrvConfig,
    options={
        "model": Argument(metavar="FILE", help="The state_dict of its DenseNet, saved."),
        "output": Option(
            "--output", "-o", metavar="FILE", help="File to write, ending in .weights.h5."
        ),
    },
)
def xrv() -> Job:
    """Take weights of torchxrayvision's DenseNet121.

    They saw chest X-rays of many hospitals. Read their license, and do not test on images that they
    were trained on. Needs the extra `xrv` (PyTorch).

    cnnjobs import xrv xrv.pt -o xrv.weights.h5
    """
    from cnnjobs.models import xrv as module

    return Job(module.import_xrv, module.plan, import_text)


def import_text(summary: "ImportSummary") -> str:
    """The file, and how to use it."""
    return (
        f"{summary.num_parameters:,} weights in {summary.output}; train with --model "
        f"xrv-densenet121 --weights {summary.output}"
    )
