"""A bundle opened in this process: it scores arrays, PIL images and files, without Ray."""

import dataclasses
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageOps

from cnnjobs.config import ENGINES, checks
from cnnjobs.errors import ImageError, InputError
from cnnjobs.imaging import reading
from cnnjobs.inference.predictor import open_engine
from cnnjobs.metrics import calibration
from cnnjobs.models import bundle as bundles
from cnnjobs.models import openvino_export
from cnnjobs.models.engines import Engine
from cnnjobs.storage import filesystem

#: What `Bundle.predict` takes for an image.
Image = str | os.PathLike[str] | PIL.Image.Image | NDArray[np.uint8] | NDArray[np.uint16]

#: Images scored at once if there are several.
_BATCH_SIZE = 8

#: Modes that Pillow writes to PNG as they are.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I")


@dataclass(frozen=True, kw_only=True)
class Bundle(bundles.Bundle):
    """A trained model, opened to score images: `labels`, `positive`, `threshold` and more.

    `engine` is openvino, keras, or auto: OpenVINO if the bundle has an export for it.
    """

    engine: str = "auto"
    _engines: dict[int, Engine] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, engine: str = "auto", expect: str | None = None
    ) -> "Bundle":
        """Open a bundle, or the run that trained it.

        `expect` is the digest (`sha256:…`) that it or its model must have.

        Raises:
            BundleError: a file is missing, damaged, of another schema version or not the one that
                was sealed; or the digest is another.
            ConfigError: the engine is unknown, or `expect` no digest.
        """
        checks.choice("engine", engine, ENGINES)
        digests = () if expect is None else (expect,)
        checks.digests("expect", digests)
        known = bundles.read(os.fspath(path), expect=digests)
        fields = {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}
        return cls(**fields, engine=engine)

    def predict(self, images: Image | Sequence[Image]) -> NDArray[np.float32]:
        """The probabilities of one image or several, preprocessed as `cnnjobs.predict` does.

        An image is a path (local or `s3://`), a PIL image, or an array of uint8 or uint16 pixels:
        (height, width) gray or (height, width, 3) RGB. Of a color JPEG give the path: Pillow
        rounds colors differently than the decoder of the jobs.

        Args:
            images: an image, a sequence of images, or an array (N, height, width, 1 or 3) of N.

        Returns:
            float32 probabilities. With two classes that of `positive`: shape () for one image,
            (N,) for several. With more classes those of `labels`: (num_labels,) for one image,
            (N, num_labels) for several.

        Raises:
            InputError: an image cannot be read, or an array has another shape or type.
            BundleError: the model cannot be opened.
        """
        is_one = isinstance(images, str | os.PathLike | PIL.Image.Image) or (
            isinstance(images, np.ndarray) and images.ndim < 4
        )
        several: Sequence[Any] = [images] if is_one else images  # type: ignore[assignment]
        if not len(several):
            raise InputError("predict needs at least one image, got none.")
        pixels = np.stack([self._pixels(image) for image in several])
        engine = self._engine(1 if len(pixels) == 1 else _BATCH_SIZE)
        probabilities = calibration.scaled(engine.scores(pixels), self.temperature)
        if self.positive is not None:
            probabilities = probabilities[:, 0]
        return probabilities[0, ...] if is_one else probabilities

    def _pixels(self, image: Any) -> NDArray[np.uint8]:
        """The (height, width, 1) pixels that the model takes."""
        if isinstance(image, str | os.PathLike):
            name = filesystem.normalize(os.fspath(image))
            try:
                data = reading.read_image(name)
            except ImageError as error:
                raise InputError(f"{name} cannot be read: {error}.") from error
        else:
            # as a file: the jobs have one decoder, and this is to give the same pixels
            name, data = "the image", _png(image)
        decoded = reading.decoded(data, self.preprocessing)
        if isinstance(decoded, ImageError):
            raise InputError(f"{name} cannot be read: {decoded}.") from decoded
        return decoded.pixels

    def _engine(self, batch_size: int) -> Engine:
        if batch_size not in self._engines:
            name = self.engine
            if name == "auto":
                export = openvino_export.find(self)
                name = "keras" if export is None or export.refused is not None else "openvino"
            self._engines[batch_size] = open_engine(
                self, name, batch_size=batch_size, threads=os.cpu_count() or 1
            )
        return self._engines[batch_size]


def _png(image: Any) -> bytes:
    """A PIL image or an array of pixels as a PNG file."""
    if isinstance(image, PIL.Image.Image):
        return _png_of_pil(image)
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"an image must be a path, a PIL image or an array, got {type(image).__name__}."
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    is_gray_or_rgb = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype not in (np.uint8, np.uint16) or not is_gray_or_rgb or not image.size:
        raise InputError(
            "an array must be uint8 or uint16 of shape (height, width) or (height, width, 3), "
            f"got {image.dtype} of shape {image.shape}."
        )
    # OpenCV's order of colors is BGR
    pixels = np.ascontiguousarray(image if image.ndim == 2 else image[:, :, ::-1])
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _png_of_pil(image: PIL.Image.Image) -> bytes:
    if image.mode == "F":
        raise InputError("a PIL image must have 8 or 16 bits, got mode F; convert it to L.")
    file = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode not in _PNG_MODES:
            upright = upright.convert("RGB")
        upright.save(file, "PNG", compress_level=1)
    except OSError as error:
        raise InputError(f"the image cannot be read: {error}.") from error
    return file.getvalue()
