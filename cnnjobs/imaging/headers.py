"""What the header of an image file says about how it was made, and nothing about the patient.

Only the values listed here are shown: never dates, numbers, names or free text.
"""

import io
import re
import warnings
from dataclasses import dataclass, field
from typing import Any

from cnnjobs.errors import ImageError
from cnnjobs.imaging import dicom, formats

#: Samples per pixel by PNG color type: gray, RGB, palette, gray and alpha, RGBA.
_PNG_COLORS = {0: "gray", 2: "color", 3: "palette", 4: "gray and alpha", 6: "color and alpha"}

_MODES = {
    "1": "gray",
    "L": "gray",
    "LA": "gray and alpha",
    "P": "palette",
    "RGB": "color",
    "RGBA": "color and alpha",
    "YCbCr": "color",
    "CMYK": "color",
}

_EXIF = {0x010F: "Make", 0x0110: "Model", 0x0112: "Orientation"}

_DICOM = (
    *("Modality", "Manufacturer", "BodyPartExamined", "ViewPosition", "BurnedInAnnotation"),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "NumberOfFrames"),
    *("ImagerPixelSpacing", "PixelSpacing", "WindowCenter", "WindowWidth"),
)

_TIFF_BITS = 258

#: Values that may be shown: short words and numbers.
_SHOWN = re.compile(r"[\w .,:/()\\\[\]+-]{1,64}")


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


def read(data: bytes) -> Header:
    """The header of a file that `preprocessing.read` accepts.

    Raises:
        ImageError: it is not an image, or is DICOM that cannot be parsed.
    """
    kind = formats.recognize(data)
    if kind == "dicom":
        return _of_dicom(data)
    header = _by_pillow(data, kind)
    if kind == "png":
        # Pillow reduces 16-bit color to 8 bits
        return Header(format=kind, bits=data[24], color=_PNG_COLORS[data[25]], tags=header.tags)
    return header


def _of_dicom(data: bytes) -> Header:
    dataset = dicom.parse(data, list(_DICOM), pixels=False)
    tags = _shown({name: dataset.get(name) for name in _DICOM})
    gray = tags.get("PhotometricInterpretation", "").startswith("MONOCHROME")
    stored = tags.get("BitsStored")
    return Header(
        format="dicom",
        bits=int(stored) if stored else None,
        color="gray" if gray else "color",
        tags=tags,
    )


def _by_pillow(data: bytes, kind: str) -> Header:
    from PIL import Image

    # it warns about sizes that are allowed here, and about irrelevant tags
    with warnings.catch_warnings(action="ignore"):
        try:
            with formats.guarded():
                picture = Image.open(io.BytesIO(data))
                tags = {name: picture.getexif().get(tag) for tag, name in _EXIF.items()}
        except ImageError:
            return Header(format=kind)
    wide = picture.mode.startswith(("I", "F"))
    bits: Any = 1 if picture.mode == "1" else 16 if wide else 8
    if kind == "tiff":
        stated = picture.getexif().get(_TIFF_BITS, bits)
        bits = stated[0] if isinstance(stated, tuple) else stated
    color = "gray" if wide else _MODES.get(picture.mode)
    return Header(format=kind, bits=int(bits), color=color, tags=_shown(tags))


def _shown(values: dict[str, Any]) -> dict[str, str]:
    """The values that are short words or numbers, as text."""
    texts = {name: str(value).strip("\0 ") for name, value in values.items() if value is not None}
    return {name: text for name, text in texts.items() if _SHOWN.fullmatch(text)}
