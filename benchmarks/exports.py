"""How far the probabilities of exported models are from those of Keras, on a set of images."""

import tempfile
from pathlib import Path

import numpy as np

from cnnjobs.config import ExportConfig
from cnnjobs.config.export import FORMATS
from cnnjobs.data import manifest
from cnnjobs.imaging import reading
from cnnjobs.imaging.preprocessing import Decoded
from cnnjobs.metrics import calibration
from cnnjobs.models import bundle as bundles
from cnnjobs.models import export

_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "saved-model": "", "keras": ".keras"}


def print_parity(bundle_uri: str, data: str) -> None:
    """Print the largest difference of a probability, and the megabytes, of each format.

    Args:
        bundle_uri: the model.
        data: a manifest; images that cannot be read are left out.
    """
    bundle = bundles.read(bundle_uri)
    paths = manifest.read(data).table["path"].to_pylist()
    images = (reading.decoded(reading.read_image(path), bundle.preprocessing) for path in paths)
    pixels = np.stack([each.pixels for each in images if isinstance(each, Decoded)])
    raw = bundles.load_model(bundle).predict(pixels, batch_size=16, verbose=0)
    expected = calibration.scaled(raw, bundle.temperature)
    print(f"{bundle.name}, {len(pixels)} images")
    print(f"{'format':12} {'largest difference':>18} {'MB':>7}")
    for kind in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, f"model{_SUFFIXES[kind]}")
            summary = export.export(
                ExportConfig(bundle=bundle_uri, output=str(output), format=kind)
            )
            # each part opens the file again; all images at once need gigabytes
            parts = np.array_split(pixels, -(-len(pixels) // 64))
            found = np.concatenate([export.scores(output, kind, part) for part in parts])
        difference = np.abs(found - expected).max()
        megabytes = summary.size_bytes / 1e6
        print(f"{kind:12} {difference:18.1e} {megabytes:7.1f}", flush=True)
