"""`cnnjobs demo`: every step from images to predictions, on synthetic drawings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cnnjobs.cluster import session, spilling
from cnnjobs.config import (
    DemoConfig,
    EvaluateConfig,
    IndexConfig,
    PredictConfig,
    TrainConfig,
    as_dict,
)
from cnnjobs.data import synthetic
from cnnjobs.data.index import IndexSummary, index
from cnnjobs.evaluation.evaluate import evaluate
from cnnjobs.evaluation.evaluate_summary import EvaluateSummary
from cnnjobs.inference.predict import PredictSummary, predict
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir
from cnnjobs.training.train import TrainSummary, train


@dataclass(frozen=True, kw_only=True)
class DemoSummary:
    """The results of each step, and where they were written."""

    output: str
    archive: str
    index: IndexSummary
    train: TrainSummary
    evaluate: EvaluateSummary
    predict: PredictSummary
    seconds: float


def plan(config: DemoConfig) -> dict[str, Any]:
    """What `--dry-run` prints."""
    output = filesystem.normalize(config.output)
    run_dir.check_free(output, "demo", overwrite=config.overwrite)
    return {
        "steps": ["draw", "index", "train", "evaluate", "predict"],
        "images": config.num_images,
        "epochs": config.epochs,
        "output": output,
    }


def demo(
    config: DemoConfig, progress: Progress = silent, announce: Callable[[str], None] = print
) -> DemoSummary:
    """Draw a synthetic archive, index it, train on it, evaluate the model and score the archive.

    Args:
        config: the settings.
        progress: reports the progress of each step.
        announce: called with a line before each step.

    Raises:
        InputError: the output is in use.
    """
    output = filesystem.normalize(config.output)
    run_dir.check_free(output, "demo", overwrite=config.overwrite)
    run = run_dir.start(output, "demo", as_dict(config), spilled_bytes=spilling.reported)
    archive, manifest = run.path("archive"), run.path("manifest.parquet")
    with run.writing():
        announce(f"1/5 drawing {config.num_images} synthetic X-rays (no patients)")
        synthetic.write_archive(archive, num_images=config.num_images, seed=config.seed)
        announce("2/5 indexing them")
        indexed = index(
            IndexConfig(sources=(archive,), output=manifest, seed=config.seed), progress
        )
        with session.connected():
            announce(f"3/5 training the lab sheet's CNN for {config.epochs} epochs")
            trained = train(
                TrainConfig(
                    data=manifest,
                    output=run.path("train"),
                    epochs=config.epochs,
                    seed=config.seed,
                ),
                progress,
            )
            announce("4/5 evaluating it on the test split")
            evaluated = evaluate(
                EvaluateConfig(bundle=trained.bundle, data=manifest, output=run.path("evaluate")),
                progress,
            )
            announce("5/5 scoring every image")
            predicted = predict(
                PredictConfig(bundle=trained.bundle, data=archive, output=run.path("predict")),
                progress,
            )
        summary = DemoSummary(
            output=output,
            archive=archive,
            index=indexed,
            train=trained,
            evaluate=evaluated,
            predict=predicted,
            seconds=round(run.seconds(), 1),
        )
        run.finish(summary=summary)
    return summary
