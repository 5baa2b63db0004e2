"""Bundles of untrained models, for tests of what scores: quick, and seeded."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs import models, schema
from cnnjobs.data.manifest import Manifest
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import bundle as bundles
from cnnjobs.models import bundle_seal, openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.storage import versions


def write_bundle(
    folder: Path,
    architecture: str,
    *,
    seed: int = 0,
    seen: Manifest | None = None,
    **preprocessing: Any,
) -> Bundle:
    """A bundle with its OpenVINO export; two classes are normal and opacity.

    It says that the training and the validation split of `seen` made it.
    """
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
        images=_of_training(seen.table) if seen else schema.MANIFEST.empty_table(),
        manifest_fingerprint=seen.fingerprint if seen else "none",
        metrics={},
        versions=versions.package_versions(),
    )
    openvino_export.write(written, model)
    return bundles.read(written.uri)


def described(**settings: Any) -> Bundle:
    """A bundle of two classes that only exists in memory."""
    known = {
        "architecture": "covid",
        "labels": ["normal", "opacity"],
        "positive": "opacity",
        "preprocessing": Preprocessing(height=28, width=28),
        "threshold": 0.5,
        "fingerprint": "",
        "model_sha256": "",
        "manifest_fingerprint": "",
        "metrics": {},
        "versions": {},
        "created": "",
    }
    return Bundle(**{**known, **settings})


def _of_training(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.is_in(rows["split"], pa.array(["train", "validation"])))


def sigmoid_to_exp(folder: Path, export: str = "openvino") -> None:
    """Forge an export of a bundle: other scores, and the hash in `export.json` to go with them."""
    network = folder / export / "model.xml"
    text = network.read_text()
    assert text.count('type="Sigmoid"') == 1
    network.write_text(text.replace('type="Sigmoid"', 'type="Exp"'))
    description = folder / export / "export.json"
    described = json.loads(description.read_text())
    described["sha256"]["model.xml"] = hashlib.sha256(network.read_bytes()).hexdigest()
    description.write_text(json.dumps(described))


def resealed(folder: Path) -> Bundle:
    """The bundle after a change, sealed by whoever changed it."""
    bundle_seal.seal(str(folder))
    return bundles.read(str(folder))
