"""`cnnjobs explain`: draw where a model looks in single images (Grad-CAM), without Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from cnnjobs.config import ExplainConfig
from cnnjobs.errors import ImageError, InputError
from cnnjobs.evaluation import audit_plots, grad_cam
from cnnjobs.evaluation.grad_cam import Watched
from cnnjobs.imaging import reading, statistics
from cnnjobs.imaging.reading import Policy
from cnnjobs.metrics import calibration
from cnnjobs.models import bundle
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, s3

#: Pixels of the longer side of what is drawn.
_SIDE = 900


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One image; `drawn` is the picture, or None where `error` says why there is none.

    `probability` is that of the positive class, with more than two that of the prediction.
    """

    path: str
    prediction: str | None = None
    probability: float | None = None
    drawn: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExplainSummary:
    """What was drawn with which model."""

    model: str
    positive: str | None
    images: Sequence[Explained]


def plan(config: ExplainConfig) -> dict[str, Any]:
    """What `--dry-run` tells."""
    s3.use(**config.s3)
    places = _places(config)
    return {"model": bundle.read(config.bundle).name, "pictures": list(places.values())}


def explain(config: ExplainConfig, progress: Progress = silent) -> ExplainSummary:
    """Draw each image under what speaks for the predicted class.

    Raises:
        InputError: the bundle cannot be used, the output not written, two images have one
            name, or none can be read.
    """
    s3.use(**config.s3)
    places = _places(config)
    known = bundle.read(config.bundle)
    filesystem.check_writable(filesystem.normalize(config.output))
    model = bundle.load_model(known)
    watched = grad_cam.watched(model)
    done: list[Explained] = []
    for path, place in places.items():
        progress("explain", len(done), len(places))
        done.append(_explained(path, place, known, model, watched))
    if all(each.error is not None for each in done):
        raise InputError(f"none of the images can be read; the first: {done[0].error}.")
    return ExplainSummary(model=known.name, positive=known.positive, images=done)


def _places(config: ExplainConfig) -> dict[str, str]:
    """Where the picture of each image goes."""
    folder = filesystem.normalize(config.output)
    places: dict[str, str] = {}
    for path in map(filesystem.normalize, config.images):
        place = filesystem.join(folder, f"{PurePosixPath(path).stem}-gradcam.png")
        if place in places.values() and path not in places:
            raise InputError(f"two images would be drawn to {place}; explain them one by one.")
        places[path] = place
    return places


def _explained(path: str, place: str, known: Bundle, model: Any, watched: Watched) -> Explained:
    try:
        data = reading.read_image(path)
    except ImageError as error:
        return Explained(path=path, error=str(error))
    decoded = reading.decoded(data, known.preprocessing, Policy(any_modality=True))
    if isinstance(decoded, ImageError):
        return Explained(path=path, error=str(decoded))
    raw = np.asarray(model(decoded.pixels[np.newaxis], training=False), np.float32)
    towards, prediction, probability = _predicted(known, calibration.scaled(raw, known.temperature))
    heat = grad_cam.heat_of(watched, decoded.pixels, towards=towards)
    gray = statistics.thumbnail(path, side=_SIDE)
    shown = gray if gray is not None else decoded.pixels[:, :, 0]
    of = known.positive or prediction
    title = f"{path.rpartition('/')[2]}\n{prediction} (P({of}) = {probability:.3f})"
    filesystem.write_bytes(place, audit_plots.explained(shown, heat, title, prediction))
    return Explained(path=path, prediction=prediction, probability=probability, drawn=place)


def _predicted(known: Bundle, scores: Any) -> tuple[int, str, float]:
    """The class that `attention` is asked for, its name, and the probability to show."""
    if known.positive is None:
        best = int(scores[0].argmax())
        return best, known.labels[best], float(scores[0, best])
    probability = scores[0, 0]
    if probability >= known.threshold:
        return 1, known.positive, float(probability)
    negative = next(label for label in known.labels if label != known.positive)
    return 0, negative, float(probability)
