"""What the header of an image file says of how it was made, and nothing of whom it shows.

Only what stands on the lists here is shown: dates, numbers, names and free text never are.
"""

import io
import re
import warnings
from dataclasses import dataclass, field
from typing import Any

from cnnjobs import dicom, formats
from cnnjobs.errors import ImageError

#: Samples a pixel by PNG's color type: gray, RGB, palette, gray and alpha, RGBA.
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

#: Values that are shown: short words and numbers.
_SHOWN = re.compile(r"[\w .,:/()\\\[\]+-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Header:
    """Format and depth of a file.

    Attributes:
        format: as `formats.recognize` names it.
        bits: of a sample as stored; None where that cannot be told.
        color: gray, color, palette, each perhaps with alpha; None where that cannot be told.
        tags: essentials of EXIF or DICOM, without what tells a person.
    """

    format: str
    bits: int | None = None
    color: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


def read(data: bytes) -> Header:
    """The header of a file that `images.read` takes.

    Raises:
        ImageError: it is no image, or DICOM that cannot be parsed.
    """
    kind = formats.recognize(data)
    if kind == "dicom":
        return _of_dicom(data)
    header = _by_pillow(data, kind)
    if kind == "png":
        # Pillow makes 8 bits of 16 in color
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

    # it warns of sizes that were allowed, and of tags that nothing depends on
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
