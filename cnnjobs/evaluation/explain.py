"""`cnnjobs explain`: draw what a prediction is based on (Grad-CAM), without Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from cnnjobs.config import ExplainConfig
from cnnjobs.errors import ImageError, InputError, UnscoredImagesError
from cnnjobs.evaluation import audit_plots, grad_cam
from cnnjobs.evaluation.grad_cam import PreparedModel
from cnnjobs.imaging import plots, reading, statistics
from cnnjobs.imaging.preprocessing import visible
from cnnjobs.imaging.reading import Policy
from cnnjobs.metrics import calibration
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import apart, filesystem, s3

#: Pixels of the longer side of a drawn image.
_SIDE = 900


@dataclass(frozen=True, kw_only=True)
class ExplainedImage:
    """One image; `drawn` is the file of its plot, None if `error` says why there is none.

    `probability` is the positive class's; with more than two classes, the predicted class's.
    """

    path: str
    prediction: str | None = None
    probability: float | None = None
    drawn: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExplainSummary:
    """The model and the explained images."""

    model: str
    positive: str | None
    images: Sequence[ExplainedImage]


def plan(config: ExplainConfig) -> dict[str, Any]:
    """What `--dry-run` prints."""
    s3.use(**config.s3)
    outputs = _outputs(config)
    return {
        "model": bundles.read(config.bundle, expect=config.expect).name,
        "pictures": list(outputs.values()),
    }


def explain(config: ExplainConfig, progress: Progress = silent) -> ExplainSummary:
    """Draw each image under the evidence for its predicted class.

    Raises:
        InputError: the bundle cannot be used, the output cannot be written, or two images have the
            same name.
    """
    s3.use(**config.s3)
    outputs = _outputs(config)
    bundle = bundles.read(config.bundle, expect=config.expect)
    model = bundles.load_model(bundle)
    prepared = grad_cam.prepare(model)
    images: list[ExplainedImage] = []
    for path, output in outputs.items():
        progress("explain", len(images), len(outputs))
        images.append(_explain_one(path, output, bundle, model, prepared, config.max_bytes))
    return ExplainSummary(model=bundle.name, positive=bundle.positive, images=images)


def judge(summary: ExplainSummary) -> None:
    """Raise UnscoredImagesError unless every image was explained."""
    failed = [image for image in summary.images if image.error is not None]
    if failed:
        raise UnscoredImagesError(
            f"no heat map for {len(failed)} of {len(summary.images)} images, the first of them "
            f"{failed[0].path} ({failed[0].error})."
        )


def _outputs(config: ExplainConfig) -> dict[str, str]:
    """The output file of each image."""
    folder = filesystem.normalize(config.output)
    outputs: dict[str, str] = {}
    for path in map(filesystem.normalize, config.images):
        output = filesystem.join(folder, f"{PurePosixPath(path).stem}-gradcam.png")
        if output in outputs.values() and path not in outputs:
            raise InputError(f"two images would be drawn to {output}; explain them one by one.")
        outputs[path] = output
    for output in outputs.values():
        apart.check_file(
            output, [config.bundle, *config.images], mark=plots.MARK, kind="a plot of cnnjobs"
        )
    return outputs


def _explain_one(
    path: str, output: str, bundle: Bundle, model: Any, prepared: PreparedModel, max_bytes: int
) -> ExplainedImage:
    decoded = reading.load(
        path, bundle.preprocessing, Policy(any_modality=True, max_bytes=max_bytes)
    )
    if isinstance(decoded, ImageError):
        return ExplainedImage(path=path, error=str(decoded))
    raw = np.asarray(model(decoded.pixels[np.newaxis], training=False), np.float32)
    scores = calibration.scaled(raw, bundle.temperature)
    target, prediction, probability = _predict(bundle, scores)
    heat = grad_cam.heat(prepared, decoded.pixels, target=target)
    thumbnail = statistics.thumbnail(path, side=_SIDE)
    gray = decoded.pixels[:, :, 0]
    if thumbnail is not None:
        gray = np.asarray(visible(thumbnail, bundle.preprocessing), np.uint8)
    scored_class = bundle.positive or prediction
    title = f"{path.rpartition('/')[2]}\n{prediction} (P({scored_class}) = {probability:.3f})"
    figure = audit_plots.explanation(gray, heat, title, prediction)
    filesystem.write_bytes(output, plots.to_bytes(figure))
    return ExplainedImage(path=path, prediction=prediction, probability=probability, drawn=output)


def _predict(bundle: Bundle, scores: Any) -> tuple[int, str, float]:
    """Index of the class to explain, its name, and the probability to show."""
    if bundle.positive is None:
        best = int(scores[0].argmax())
        return best, bundle.labels[best], float(scores[0, best])
    probability = float(scores[0, 0])
    if scores[0, 0] >= bundle.threshold:
        return 1, bundle.positive, probability
    negative = next(label for label in bundle.labels if label != bundle.positive)
    return 0, negative, probability
