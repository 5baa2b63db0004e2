"""`cnnjobs demo`."""

from typing import TYPE_CHECKING

from typer import Option

from cnnjobs.cli.app import app
from cnnjobs.cli.command import job
from cnnjobs.cli.evaluate import evaluate_text
from cnnjobs.cli.index import index_text
from cnnjobs.cli.predict import predict_text
from cnnjobs.cli.runner import Job, say
from cnnjobs.cli.tables import cell
from cnnjobs.cli.train import train_text
from cnnjobs.config import DemoConfig
from cnnjobs.progress import Progress, silent

if TYPE_CHECKING:
    from cnnjobs.demo import DemoSummary


@job(
    app,
    "demo",
    DemoConfig,
    options={
        "output": Option("--output", "-o", metavar="DIR", help="Directory to write."),
        "num_images": Option(help="Synthetic images to draw."),
        "epochs": Option(help="Passes over the training images."),
    },
)
def demo() -> Job:
    """Try everything on synthetic drawings.

    Draws an archive, indexes it, trains a model, evaluates it and scores every image.

    Needs no data and no network. The images are drawings, not patients: what the model learns
    from them means nothing.
    """
    from cnnjobs import demo as module

    def run(config: DemoConfig, progress: Progress) -> "DemoSummary":
        def report_step(line: str) -> None:
            if progress is not silent:
                say(line, err=True)

        return module.demo(config, progress, announce=report_step)

    return Job(run, module.plan, demo_text)


def demo_text(summary: "DemoSummary") -> str:
    """The results of each step, and where they are."""
    auroc = summary.evaluate.metrics["auroc"]
    results = [
        ("drawings", summary.archive),
        ("manifest", summary.index.manifest),
        ("model bundle", summary.train.bundle),
        ("learning curves", f"{summary.train.output}/learning_curves.png"),
        ("evaluation", f"{summary.evaluate.output}/run.json"),
        ("predictions", f"{summary.predict.output}/predictions"),
    ]
    return "\n".join(
        [
            "",
            index_text(summary.index),
            "",
            train_text(summary.train),
            "",
            evaluate_text(summary.evaluate),
            "",
            predict_text(summary.predict),
            "",
            f"SYNTHETIC drawings, not patients: the AUROC of {cell(auroc)} shows that the software "
            "runs, nothing else.",
            f"done in {summary.seconds:.0f} s; the results:",
            *(f"  {name:<16} {path}" for name, path in results),
        ]
    )
