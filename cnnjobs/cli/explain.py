"""`cnnjobs explain`."""

from typing import TYPE_CHECKING

from typer import Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import table
from cnnjobs.config import ExplainConfig

if TYPE_CHECKING:
    from cnnjobs.evaluation.explain import ExplainSummary


@job(
    app,
    "explain",
    ExplainConfig,
    options={
        "output": Option(
            "--output", "-o", metavar="DIR", help="Folder for the heat maps, one per image."
        )
    },
)
def explain() -> Job:
    """Draw where the model looks (Grad-CAM).

    Draws each image with a heat map of the evidence for the predicted class, as
    DIR/<name>-gradcam.png. The exit code is 3 if an image has none.

    cnnjobs explain runs/first patient.png -o explained
    """
    from cnnjobs.evaluation import explain as module

    return Job(module.explain, module.plan, explain_text, module.judge)


def explain_text(summary: "ExplainSummary") -> str:
    """One line per image."""
    rows = [
        [each.path, each.prediction, each.probability, each.error or each.drawn]
        for each in summary.images
    ]
    header = ["image", "prediction", f"P({summary.positive or 'prediction'})", "heat map"]
    return "\n".join([summary.model, table(header, rows)])
