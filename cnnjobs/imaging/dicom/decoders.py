"""JPEG, JPEG Lossless and JPEG-LS for pydicom, by libjpeg-turbo and CharLS in imagecodecs.

pydicom's own plugins for them need pylibjpeg-libjpeg, which is under the GPL, or python-gdcm, whose
wheels contain OpenSSL 1.1.1.
"""

import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

BASELINE = "1.2.840.10008.1.2.4.50"
_JPEG_LS = "JPEG-LS"
#: Transfer syntaxes, and their names in messages.
JPEGS = {
    BASELINE: "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
}

#: Name of the plugin.
PLUGIN = "cnnjobs"

#: What pydicom's `Decoder.add_plugin` requires.
DECODER_DEPENDENCIES = dict.fromkeys(JPEGS, ("imagecodecs",))

_lock = threading.Lock()


def is_available(syntax: str) -> bool:
    """Whether the extra is installed."""
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        return False
    return True


def add(syntax: str) -> None:
    """Let pydicom decode this transfer syntax with `decode`."""
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(syntax)
    # adding is not thread-safe, and images are decoded on several threads
    with _lock:
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode"))


def decode(frame: bytes, runner: "DecodeRunner") -> bytes:
    """The samples of a frame as they are coded, by pixel, in BitsAllocated bits each.

    Raises:
        RuntimeError: the frame is damaged.
    """
    import imagecodecs

    if JPEGS[runner.transfer_syntax] == _JPEG_LS:
        samples = imagecodecs.jpegls_decode(frame)
    else:
        # equal ones keep the colors as they are, whatever the file's markers say
        colors = "RGB" if runner.samples_per_pixel == 3 else None
        samples = imagecodecs.jpeg8_decode(frame, colorspace=colors, outcolorspace=colors)
    runner.set_option("planar_configuration", 0)
    return np.asarray(samples).astype(f"<u{runner.bits_allocated // 8}").tobytes()
