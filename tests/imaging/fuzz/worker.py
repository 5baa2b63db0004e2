"""Decodes images of consecutive numbers; one line for each: number, outcome, seconds, bytes.

That an image makes a library print is noticed if stderr is a file.

python -m tests.imaging.fuzz.worker png 1 0 1000
"""

import os
import sys
import time
from pathlib import Path

from cnnjobs.errors import ImageError
from cnnjobs.imaging import headers, preprocessing
from cnnjobs.imaging.preprocessing import Preprocessing
from tests.imaging.fuzz import mutations

#: What headers may ask for.
MAX_PIXELS = 1 << 20

#: Faults, by how the outcome of an image begins.
PRINTED, UNFORESEEN, EXCEPTION, DIFFERENT = "printed", "unforeseen", "exception", "different"

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def outcome(data, index):
    """Return what becomes of one image: sound, warning, an error's category, or a fault."""
    settings = Preprocessing(height=8, width=8, scaled_jpeg=index % 3 == 0, max_pixels=MAX_PIXELS)
    how = {"keep_damaged": index % 2 > 0, "any_modality": True}
    try:
        decoded = preprocessing.decode(data, settings, **how)
        if decoded.pixels.tobytes() != preprocessing.decode(data, settings, **how).pixels.tobytes():
            return DIFFERENT
        headers.read(data)
    except ImageError as error:
        # an exception that only the last guard caught
        return UNFORESEEN if "contradict" in str(error) else error.category.replace(" ", "-")
    except Exception:  # noqa: BLE001 - that there is none is what is tested
        return EXCEPTION
    return "warning" if decoded.warning else "sound"


def main(format_, seed, start, stop):
    for index in range(start, stop):
        data = mutations.mutated(format_, seed, index)
        # the peak counts from here on (proc(5))
        _CLEAR.write_text("5")
        before, began, printed = _kib("VmRSS"), time.monotonic(), os.fstat(2).st_size
        what = outcome(data, index)
        if os.fstat(2).st_size > printed:
            what = PRINTED
        seconds, peak = time.monotonic() - began, 1024 * max(0, _kib("VmHWM") - before)
        sys.stdout.write(f"{index} {what} {seconds:.6f} {peak}\n")
        sys.stdout.flush()


def _kib(name):
    text = _STATUS.read_text()
    return int(text[text.index(name) :].split(maxsplit=2)[1])


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
