"""Commands that ask what a model looks at: `audit`, `explain`."""

from typing import Annotated

from typer import Argument, Option

from cnnjobs.cli.app import app
from cnnjobs.cli.audit import audit_text, explain_text
from cnnjobs.cli.command import job
from cnnjobs.cli.options import BatchSize, BundlePath, Data, Engine, Overwrite, Seed
from cnnjobs.cli.runner import Stage
from cnnjobs.config import AuditConfig, ExplainConfig


@job(app, AuditConfig)
def audit(
    bundle: BundlePath = None,
    data: Data = None,
    output: Annotated[
        str | None, Option("--output", "-o", help="Run directory for the table and plots.")
    ] = AuditConfig.output,
    split: Annotated[
        str, Option(help="train, validation, test or all (for a set of its own).")
    ] = AuditConfig.split,
    border: Annotated[
        float, Option(help="Width of what is left without the lungs, in shares of the sides.")
    ] = AuditConfig.border,
    resamples: Annotated[
        int, Option(help="Bootstrap resamples of the 95 % intervals.")
    ] = AuditConfig.resamples,
    seed: Seed = AuditConfig.seed,
    engine: Engine = AuditConfig.engine,
    batch_size: BatchSize = AuditConfig.batch_size,
    overwrite: Overwrite = AuditConfig.overwrite,
) -> Stage:
    """Tell how much of a score survives without the lungs.

    Scores the test split again with the centre, borders or corners painted over, at 16x16
    pixels, and with the pixels shuffled; beside it a classifier that sees no picture. The
    verdict is shortcut, none found or undecided (docs/audit.md); the bundle carries it.

    cnnjobs audit runs/first manifest.parquet -o audited
    """
    from cnnjobs.evaluation import audit as stage

    return Stage(stage.audit, stage.plan, audit_text)


@job(app, ExplainConfig)
def explain(
    bundle: BundlePath = None,
    images: Annotated[
        list[str] | None, Argument(metavar="IMAGE", help="Image files, local or on S3.")
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", help="Folder for the pictures, one an image.")
    ] = None,
) -> Stage:
    """Draw where the model looks (Grad-CAM).

    Each image under what speaks for the predicted class, in DIR/<name>-gradcam.png.

    cnnjobs explain runs/first patient.png -o explained
    """
    from cnnjobs.evaluation import explain as stage

    return Stage(stage.explain, stage.plan, explain_text)
