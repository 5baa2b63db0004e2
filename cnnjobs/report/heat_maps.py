"""Grad-CAM heat maps for the gallery: the most wrong and the most certain images get one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjobs.errors import ImageError, InputError
from cnnjobs.evaluation import grad_cam
from cnnjobs.imaging import preprocessing, reading
from cnnjobs.imaging.reading import Policy
from cnnjobs.models.bundle import Bundle
from cnnjobs.report import gallery, thumbnails
from cnnjobs.report.gallery import Judged

if TYPE_CHECKING:
    import keras


def add(
    shown: Sequence[dict[str, Any]],
    judged: Judged,
    bundle: Bundle,
    network: "keras.Model",
    policy: Policy,
) -> None:
    """Set `heat` on the most wrong and the most certain of the gallery's images.

    Without convolutions in the model, no image gets one.
    """
    try:
        watched = grad_cam.watched(network)
    except InputError:
        return
    by_path = {image["path"]: image for image in shown}
    places = np.flatnonzero([path in by_path for path in judged.rows["path"].to_pylist()])
    for path in gallery.to_explain(judged, places):
        image = by_path[path]
        if image["unread"] is not None:
            continue
        try:
            data = reading.read_image(path)
        except ImageError:
            # deleted since its thumbnail was made
            continue
        decoded = reading.decoded(data, bundle.preprocessing, policy)
        if isinstance(decoded, ImageError):
            continue
        towards = list(bundle.labels).index(image["prediction"])
        if bundle.positive is not None:
            towards = int(image["prediction"] == bundle.positive)
        heat = grad_cam.heat_of(watched, decoded.pixels, towards=towards)
        drawn = grad_cam.overlay(decoded.pixels[:, :, 0], heat)
        height, width = thumbnails.fitted(image["height"], image["width"], thumbnails.LARGE_SIDE)
        resized = preprocessing.resize(drawn, height=height, width=width)
        image["heat"] = thumbnails.encoded(np.asarray(resized, np.uint8))
