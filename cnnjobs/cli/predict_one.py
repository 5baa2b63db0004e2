"""`cnnjobs predict-one`."""

from typing import TYPE_CHECKING

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import OutputOption
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import table
from cnnjobs.config import PredictOneConfig

if TYPE_CHECKING:
    from cnnjobs.inference.predict_one import PredictOneSummary


@job(
    app,
    "predict-one",
    PredictOneConfig,
    options={
        "explain_pixels": OutputOption(
            "--explain-pixels", help="Say what was done to each image before the model saw it."
        ),
        "plot": OutputOption(metavar="FILE.png", help="Draw the images with their predictions."),
    },
)
def predict_one() -> Job:
    """Score single images, without Ray.

    The exit code is 3 if an image has no score.

    cnnjobs predict-one runs/first patient.png
    """
    from cnnjobs.inference import predict_one as module

    return Job(module.predict_one, module.plan, predict_one_text, module.judge)


def predict_one_text(summary: "PredictOneSummary") -> str:
    """One line per image."""
    score = f"P({summary.positive})" if summary.positive is not None else "probability"
    rows = [
        [
            row.path,
            row.prediction,
            row.probability,
            row.error or row.warning,
        ]
        for row in summary.images
    ]
    parts = [summary.model, table(["image", "prediction", score, "error"], rows)]
    for path, steps in summary.steps.items():
        parts += [f"pixels of {path}:", *(f"  {step}" for step in steps)]
    if summary.plot is not None:
        parts.append(f"plot: {summary.plot}")
    return "\n".join(parts)
