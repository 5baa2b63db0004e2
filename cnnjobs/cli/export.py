"""`cnnjobs export`."""

from typing import TYPE_CHECKING

from typer import Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.runner import Job
from cnnjobs.config import ExportConfig

if TYPE_CHECKING:
    from cnnjobs.models.export import ExportSummary


@job(
    app,
    "export",
    ExportConfig,
    options={
        "output": Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write, ending in .onnx, .xml or .keras; a folder for saved-model.",
        ),
        "format": Option(metavar="onnx|openvino|saved-model|keras", help="Format of the file."),
    },
)
def export() -> Job:
    """Write the model for other programs.

    Labels, threshold and preprocessing are in the file's metadata, and the temperature is part of
    the network. Nothing is written unless its probabilities on 16 images are the bundle's. onnx
    needs the extra `onnx`.

    cnnjobs export runs/first -o model.onnx
    """
    from cnnjobs.models import export as module

    return Job(module.export, module.plan, export_text)


def export_text(summary: "ExportSummary") -> str:
    """The file, and how far its scores are from the bundle's."""
    return (
        f"{summary.model} as {summary.format}; largest difference of a probability: "
        f"{summary.difference:.1e}\nfile: {summary.output} ({summary.size_bytes / 1e6:.1f} MB)"
    )
