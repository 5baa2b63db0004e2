"""dcmtk's renderers (Debian: dcmtk), which share no code with what is tested."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2

#: One for plain files, RLE and deflated ones, one for JPEG, one for JPEG-LS.
PLAIN, JPEG, JPEG_LS = "dcm2pnm", "dcmj2pnm", "dcml2pnm"

MISSING = None if shutil.which(PLAIN) else "dcm2pnm is not installed (apt-get install dcmtk)"


def rendered(data, *options, tool=PLAIN):
    """Return the first frame as 8-bit gray, without overlays; None if the tool refuses the file."""
    with tempfile.TemporaryDirectory() as folder:
        file, image = Path(folder, "file.dcm"), Path(folder, "image.pgm")
        file.write_bytes(data)
        command = [tool, "--quiet", "--no-overlays", "--grayscale", *options, file, image]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return None
        return cv2.imread(str(image), cv2.IMREAD_UNCHANGED)
