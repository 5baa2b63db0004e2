"""Grad-CAM heat maps for the gallery: the most wrong and the most certain images get one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnjobs.errors import ImageError, InputError
from cnnjobs.evaluation import grad_cam
from cnnjobs.imaging import reading
from cnnjobs.imaging.preprocessing import Preprocessing, visible
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

    `is_cut` says whether the model sees only a part of one, `is_empty` whether nothing is hot. A
    model without convolutions adds none.
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
        height, width = thumbnails.fitted(image["height"], image["width"], thumbnails.LARGE_SIDE)
        whole = Preprocessing(
            height=height,
            width=width,
            max_pixels=bundle.preprocessing.max_pixels,
            scaled_jpeg=True,
        )
        under = reading.load(path, whole, policy)
        if isinstance(under, ImageError):
            continue
        gray = under.pixels[:, :, 0]
        image["heat"] = thumbnails.to_webp_uri(over(gray, heat, bundle.preprocessing))
        image["is_empty"] = not heat.any()
        image["is_cut"] = visible(gray, bundle.preprocessing).shape != gray.shape


def over(
    gray: NDArray[np.uint8], heat: grad_cam.Heat, preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """A whole image, (height, width, 3) RGB, under the heat of the part that the model sees.

    What the model does not see is dark.
    """
    part = np.asarray(visible(gray, preprocessing), np.uint8)
    shown = np.dstack([gray // 2] * 3)
    for channel, drawn in enumerate(np.moveaxis(grad_cam.overlay(part, heat), 2, 0)):
        visible(shown[:, :, channel], preprocessing)[...] = drawn
    return shown
