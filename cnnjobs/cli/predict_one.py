"""`cnnjobs predict-one`."""

from typing import TYPE_CHECKING, Annotated

from typer import Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.help_page import OUTPUT
from cnnjobs.cli.options import AnyModality, BundlePath, Damaged, Engine, Images
from cnnjobs.cli.runner import Job
from cnnjobs.cli.tables import table
from cnnjobs.config import PredictOneConfig

if TYPE_CHECKING:
    from cnnjobs.inference.predict_one import PredictOneSummary


@job(app, PredictOneConfig, "predict-one")
def predict_one(
    bundle: BundlePath = None,
    images: Images = None,
    engine: Engine = PredictOneConfig.engine,
    damaged: Damaged = PredictOneConfig.damaged,
    any_modality: AnyModality = PredictOneConfig.any_modality,
    plot: Annotated[
        str | None,
        Option(
            metavar="FILE.png",
            rich_help_panel=OUTPUT,
            help="Draw the images with their predictions.",
        ),
    ] = PredictOneConfig.plot,
) -> Job:
    """Score single images, without Ray.

    cnnjobs predict-one runs/first patient.png
    """
    from cnnjobs.inference import predict_one as module

    return Job(module.predict_one, module.plan, predict_one_text)


def predict_one_text(summary: "PredictOneSummary") -> str:
    """One line per image."""
    score = f"P({summary.positive})" if summary.positive is not None else "probability"
    rows = [
        [
            row["path"],
            row["prediction"],
            row["probability"] if "probability" in row else max(row["probabilities"] or [0.0]),
            row["error"] or row["warning"],
        ]
        for row in summary.images
    ]
    parts = [summary.model, table(["image", "prediction", score, "error"], rows)]
    if summary.plot is not None:
        parts.append(f"plot: {summary.plot}")
    return "\n".join(parts)
