"""What the header of an image file says about how it was made, and nothing about the patient.

Only the values listed here are shown: never dates, numbers, names or free text.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from PIL import BmpImagePlugin

from cnnjobs.errors import ImageError
from cnnjobs.imaging import dicom, formats
from cnnjobs.imaging.formats import jpeg, png, tiff_page, tiff_tags, webp

#: By Pillow's mode of a BMP, and by a TIFF's photometric interpretation.
_MODES = {"1": "gray", "L": "gray", "P": "palette", "RGB": "color", "RGBA": "color and alpha"}
_PHOTOMETRIC = {0: "gray", 1: "gray", 3: "palette"}

_EXIF = {0x010F: "Make", 0x0110: "Model", 0x0112: "Orientation"}

_DICOM = (
    *("Modality", "Manufacturer", "BodyPartExamined", "ViewPosition", "BurnedInAnnotation"),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "NumberOfFrames"),
    *("ImagerPixelSpacing", "PixelSpacing", "WindowCenter", "WindowWidth"),
)

#: Values that may be shown: short words and numbers.
_LONGEST = 64
_SHOWN = re.compile(rf"[\w .,:/()\\\[\]+-]{{1,{_LONGEST}}}")


@dataclass(frozen=True, kw_only=True)
class Header:
    """Format and depth of a file.

    Attributes:
        format: as named by `formats.recognize`.
        bits: bits per sample as stored; None if unknown.
        color: gray, color or palette, each possibly with alpha; None if unknown.
        tags: essentials of EXIF or DICOM, without anything that identifies a person.
    """

    format: str
    bits: int | None = None
    color: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


@formats.guarded()
def read(data: bytes) -> Header:
    """The header of a file that `preprocessing.read` accepts.

    Raises:
        ImageError: it is not an image, or is DICOM that cannot be parsed.
    """
    kind = formats.recognize(data)
    if kind == "dicom":
        return _of_dicom(data)
    if kind == "tiff":
        return _of_tiff(data)
    if kind == "bmp":
        return Header(format=kind, bits=8, color=_of_bmp(data))
    color, exif = {"png": png, "jpeg": jpeg, "webp": webp}[kind].color_and_exif(data)
    bits = data[24] if kind == "png" else 8
    return Header(format=kind, bits=bits, color=color, tags=_of_exif(exif))


def _of_dicom(data: bytes) -> Header:
    dataset, _ = dicom.parse(data, list(_DICOM))
    tags = _shown({name: dataset.get(name) for name in _DICOM})
    gray = tags.get("PhotometricInterpretation", "").startswith("MONOCHROME")
    stored = tags.get("BitsStored")
    return Header(
        format="dicom",
        bits=int(stored) if stored else None,
        color="gray" if gray else "color",
        tags=tags,
    )


def _of_tiff(data: bytes) -> Header:
    directory, _ = tiff_tags.image(data)
    photometric = directory.first(tiff_page.PHOTOMETRIC, 1)
    color = _PHOTOMETRIC.get(photometric, "color")
    if directory.first(tiff_page.SAMPLES, 1) > tiff_page.NUM_COLORS.get(photometric, 0):
        color = f"{color} and alpha"
    bits = directory.first(tiff_page.BITS, 1)
    return Header(format="tiff", bits=bits, color=color, tags=_of_tags(directory.tags))


def _of_bmp(data: bytes) -> str | None:
    try:
        with formats.guarded():
            return _MODES.get(BmpImagePlugin.BmpImageFile(io.BytesIO(data)).mode)
    except ImageError:
        return None


def _of_exif(exif: bytes) -> dict[str, str]:
    """What may be shown of an EXIF block, which is a TIFF without pixels."""
    exif = exif.removeprefix(b"Exif\0\0")
    try:
        return _of_tags(tiff_tags.read(exif).tags) if exif.startswith(formats.TIFF) else {}
    except ImageError:
        return {}


def _of_tags(tags: Mapping[int, NDArray[Any]]) -> dict[str, str]:
    found = {name: tags[tag][:_LONGEST] for tag, name in _EXIF.items() if tag in tags}
    return _shown(
        {
            name: int(value[0]) if name == "Orientation" else value.tobytes().decode("latin-1")
            for name, value in found.items()
        }
    )


def _shown(values: dict[str, Any]) -> dict[str, str]:
    """The values that are short words or numbers, as text."""
    texts = {name: str(value).strip("\0 ") for name, value in values.items() if value is not None}
    return {name: text for name, text in texts.items() if _SHOWN.fullmatch(text)}
