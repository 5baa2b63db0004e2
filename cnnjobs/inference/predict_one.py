"""`cnnjobs predict-one`: score a few images in this process, without Ray."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cnnjobs.config import PredictOneConfig
from cnnjobs.data import plots
from cnnjobs.errors import ImageError, InputError, UnscoredImagesError
from cnnjobs.imaging import plots as image_plots
from cnnjobs.imaging import reading
from cnnjobs.imaging.preprocessing import Decoded
from cnnjobs.imaging.reading import Policy
from cnnjobs.inference.predictor import Predictor, Scoring
from cnnjobs.models import bundle as bundles
from cnnjobs.models import openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import apart, filesystem, s3


@dataclass(frozen=True, kw_only=True)
class BinaryPrediction:
    """One image and the probability of the positive class; None where `error` says why."""

    path: str
    prediction: str | None
    probability: float | None
    error: str | None
    warning: str | None
    width: int | None
    height: int | None


@dataclass(frozen=True, kw_only=True)
class MulticlassPrediction:
    """One image and the probability of each label; None where `error` says why."""

    path: str
    prediction: str | None
    probabilities: Sequence[float] | None
    error: str | None
    warning: str | None
    width: int | None
    height: int | None

    @property
    def probability(self) -> float | None:
        """Of the predicted class."""
        return None if self.probabilities is None else max(self.probabilities)


@dataclass(frozen=True, kw_only=True)
class PredictOneSummary:
    """The score of each image, with the columns that `predict` writes.

    With `explain_pixels`, `steps` says of each readable image what was done to its stored samples,
    in order.
    """

    model: str
    labels: Sequence[str]
    positive: str | None
    threshold: float
    engine: str
    images: Sequence[BinaryPrediction | MulticlassPrediction]
    steps: Mapping[str, Sequence[str]]
    plot: str | None


def plan(config: PredictOneConfig) -> dict[str, Any]:
    """What `--dry-run` reports."""
    s3.use(**config.s3)
    bundle = bundles.read(config.bundle, expect=config.expect)
    _plot_file(config)
    return {"model": bundle.name, "engine": _engine(config, bundle), "images": len(config.images)}


def predict_one(config: PredictOneConfig, progress: Progress = silent) -> PredictOneSummary:
    """Score the images and, with `plot`, draw those that can be read.

    Raises:
        InputError: the bundle is unusable, or the plot cannot be written.
    """
    s3.use(**config.s3)
    bundle = bundles.read(config.bundle, expect=config.expect)
    plot = _plot_file(config)
    scoring = Scoring(
        bundles=[bundle],
        engine=_engine(config, bundle),
        batch_size=min(8, len(config.images)),
        run_id="predict-one",
        policy=Policy(
            keep_damaged=config.damaged == "score",
            any_modality=config.any_modality,
            max_bytes=config.max_bytes,
        ),
    )
    paths = [filesystem.normalize(image) for image in config.images]
    rows = pa.table(
        {
            "path": pa.array(paths, pa.string()),
            "label": pa.nulls(len(paths), pa.string()),
            "size_bytes": pa.array([0] * len(paths), pa.int64()),
        }
    )
    progress("predict", 0, len(paths))
    scored = Predictor(scoring, threads=os.cpu_count() or 1)(rows)
    progress("predict", len(paths), len(paths))
    columns = ["path", "prediction", *_score_columns(bundle), "error", "warning", "width", "height"]
    kind = MulticlassPrediction if bundle.positive is None else BinaryPrediction
    images = [kind(**row) for row in scored.select(columns).to_pylist()]
    readable = [image for image in images if image.error is None]
    steps: dict[str, Sequence[str]] = {}
    shown, aspects = [], []
    if plot is not None or config.explain_pixels:
        for image in readable:
            decoded = _decoded(image.path, bundle, scoring.policy)
            steps[image.path] = decoded.steps
            shown.append((_title(image, bundle), decoded.pixels[:, :, 0]))
            aspects.append(bundle.preprocessing.aspect(decoded.height, decoded.width))
    if not shown:
        plot = None
    if plot is not None:
        filesystem.write_bytes(plot, image_plots.to_bytes(plots.grid(shown, aspects=aspects)))
    return PredictOneSummary(
        model=bundle.name,
        labels=bundle.labels,
        positive=bundle.positive,
        threshold=bundle.threshold,
        engine=scoring.engine,
        images=images,
        steps=steps if config.explain_pixels else {},
        plot=plot,
    )


def judge(summary: PredictOneSummary) -> None:
    """Raise UnscoredImagesError unless every image has a score."""
    failed = [image for image in summary.images if image.error is not None]
    if failed:
        raise UnscoredImagesError(
            f"no score for {len(failed)} of {len(summary.images)} images, the first of them "
            f"{failed[0].path} ({failed[0].error})."
        )


def _engine(config: PredictOneConfig, bundle: Bundle) -> str:
    if config.engine != "auto":
        return config.engine
    export = openvino_export.find(bundle)
    return "keras" if export is None or export.refused is not None else "openvino"


def _score_columns(bundle: Bundle) -> list[str]:
    return ["probability"] if bundle.positive is not None else ["probabilities"]


def _plot_file(config: PredictOneConfig) -> str | None:
    if config.plot is None:
        return None
    plot = filesystem.normalize(config.plot)
    inputs = [config.bundle, *config.images]
    apart.check_file(plot, inputs, mark=image_plots.MARK, kind="a plot of cnnjobs")
    return plot


def _decoded(path: str, bundle: Bundle, policy: Policy) -> Decoded:
    """An image as the model sees it, once more."""
    decoded = reading.load(path, bundle.preprocessing, policy)
    if isinstance(decoded, ImageError):
        raise InputError(f"{path} changed while it was read: {decoded}.") from decoded
    return decoded


def _title(row: BinaryPrediction | MulticlassPrediction, bundle: Bundle) -> str:
    name = row.path.rpartition("/")[2]
    if bundle.positive is not None:
        return f"{name}\n{row.prediction} (P({bundle.positive}) = {row.probability:.3f})"
    return f"{name}\n{row.prediction} ({row.probability:.3f})"
