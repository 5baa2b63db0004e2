"""Grad-CAM heat maps for the gallery: the most wrong and the most certain images get one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjobs.errors import ImageError, InputError
from cnnjobs.evaluation import grad_cam
from cnnjobs.imaging import preprocessing, reading
from cnnjobs.imaging.reading import Policy
from cnnjobs.models.bundle import Bundle
from cnnjobs.reporting import gallery, inputs, thumbnails
from cnnjobs.reporting.gallery import JudgedRows

if TYPE_CHECKING:
    import keras


def add(
    shown: Sequence[dict[str, Any]],
    judged: JudgedRows,
    bundle: Bundle,
    network: "keras.Model",
    policy: Policy,
) -> None:
    """Set `heat` on the most wrong and the most certain of the gallery's images.

    A model without convolutions adds none.
    """
    try:
        prepared = grad_cam.prepare(network)
    except InputError:
        return
    # those of a cross-validation were scored by other models
    by_path = {image["path"]: image for image in shown if image["split"] != inputs.OUT_OF_FOLD}
    indices = np.flatnonzero([path in by_path for path in judged.rows["path"].to_pylist()])
    for path in gallery.to_explain(judged, indices):
        image = by_path[path]
        if image["unread"] is not None:
            continue
        decoded = reading.load(path, bundle.preprocessing, policy)
        if isinstance(decoded, ImageError):
            # deleted since its thumbnail was made
            continue
        target = list(bundle.labels).index(image["prediction"])
        if bundle.positive is not None:
            target = int(image["prediction"] == bundle.positive)
        heat = grad_cam.heat(prepared, decoded.pixels, target=target)
        overlay = grad_cam.overlay(decoded.pixels[:, :, 0], heat)
        height, width = thumbnails.fitted(image["height"], image["width"], thumbnails.LARGE_SIDE)
        resized = preprocessing.resize(overlay, height=height, width=width)
        image["heat"] = thumbnails.to_webp_uri(np.asarray(resized, np.uint8))
