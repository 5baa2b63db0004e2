"""Bundles of untrained models, for tests of what scores: quick, and seeded."""

from pathlib import Path
from typing import Any

from cnnjobs import bundle as bundles
from cnnjobs import exports, models, runs, schema
from cnnjobs.bundle import Bundle
from cnnjobs.images import Preprocessing


def write_bundle(folder: Path, architecture: str, *, seed: int = 0, **preprocessing: Any) -> Bundle:
    """A bundle with its OpenVINO export; two classes are normal and opacity."""
    keras = models.import_keras()
    keras.utils.set_random_seed(seed)
    known = models.find(architecture)
    binary = known.num_labels == 2
    model = models.build(architecture, known.num_labels)
    written = bundles.write(
        str(folder),
        model,
        architecture=architecture,
        labels=["normal", "opacity"] if binary else [str(n) for n in range(known.num_labels)],
        positive="opacity" if binary else None,
        preprocessing=Preprocessing(
            height=known.height, width=known.width, scaled_jpeg=True, **preprocessing
        ),
        images=schema.MANIFEST.empty_table(),
        manifest_fingerprint="none",
        metrics={},
        versions=runs.package_versions(),
    )
    exports.write(written, model)
    return written
