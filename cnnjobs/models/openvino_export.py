"""The model of a bundle as OpenVINO reads it: made once, checked, kept in the bundle.

openvino/model.xml, model.bin   the network in OpenVINO's own format (IR), float32
openvino/export.json            whose export it is, its hashes, or why there is none
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnjobs import models
from cnnjobs.errors import BundleError
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.engines import OpenVinoEngine
from cnnjobs.storage import filesystem

if TYPE_CHECKING:
    import keras

FOLDER, XML, WEIGHTS, DESCRIPTION = "openvino", "model.xml", "model.bin", "export.json"

#: Largest difference of a probability to Keras' at which an export counts as the same model.
#: On the models of this package it is below 1e-6.
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Export:
    """What `export.json` says.

    Attributes:
        fingerprint: of the bundle's model.
        sha256: of the two files; empty if there are none.
        difference: largest of a probability to Keras', on 16 images of noise.
        refused: why the model has no export; None if it has.
        openvino: the version that made it.
    """

    fingerprint: str
    sha256: Mapping[str, str]
    difference: float | None
    refused: str | None
    openvino: str


def find(bundle: Bundle) -> Export | None:
    """The export that the bundle keeps; None if there is none, or another model's."""
    try:
        export = Export(**json.loads(filesystem.read_file(_part(bundle, DESCRIPTION))))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return export if export.fingerprint == bundle.fingerprint else None


def write(bundle: Bundle, model: "keras.Model | None" = None) -> Export:
    """Export the bundle's model into it; imports TensorFlow.

    A model that OpenVINO cannot take, or that scores otherwise in it, gets an export that says
    so: `auto` then chooses Keras.

    Args:
        bundle: as read or written.
        model: its model, if it is at hand.

    Raises:
        StorageError: the bundle cannot be written.
    """
    model = model if model is not None else bundles.load_model(bundle)
    files, difference, refused = _exported(model)
    export = Export(
        fingerprint=bundle.fingerprint,
        sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        difference=difference,
        refused=refused,
        openvino=metadata.version("openvino"),
    )
    for name, data in files.items():
        filesystem.write_bytes(_part(bundle, name), data)
    text = json.dumps(dataclasses.asdict(export), indent=2)
    filesystem.write_bytes(_part(bundle, DESCRIPTION), text.encode())
    return export


def read(bundle: Bundle) -> tuple[bytes, bytes]:
    """The network and its weights, as `openvino.Core.read_model` takes them.

    Raises:
        BundleError: there is no export, or its files are not those that were written.
    """
    export = find(bundle)
    if export is None or export.refused is not None:
        why = export.refused if export is not None else "it was never made"
        raise BundleError(
            f"{bundle.uri} has no OpenVINO export ({why}); use --engine keras or auto."
        )
    network, weights = (_read_checked(bundle, export, name) for name in (XML, WEIGHTS))
    return network, weights


def _read_checked(bundle: Bundle, export: Export, name: str) -> bytes:
    try:
        data = filesystem.read_file(_part(bundle, name))
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != export.sha256[name]:
        raise BundleError(
            f"{_part(bundle, name)} is not the file that {DESCRIPTION} describes; delete the "
            f"folder {FOLDER}, and it is made anew."
        )
    return data


def _part(bundle: Bundle, name: str) -> str:
    return filesystem.join(bundle.uri, FOLDER, name)


def _exported(model: "keras.Model") -> tuple[dict[str, bytes], float | None, str | None]:
    """The files, the largest difference to Keras, and why there are none."""
    models.import_keras()
    from openvino import frontend

    unknown = (frontend.OpConversionFailure, frontend.GeneralFailure, NotImplementedError)
    with tempfile.TemporaryDirectory() as folder, _without_telemetry():
        try:
            model.export(str(Path(folder, XML)), format="openvino", verbose=False)
        except unknown as error:
            return {}, None, f"OpenVINO does not know all of it: {_reason(error)}"
        files = {name: Path(folder, name).read_bytes() for name in (XML, WEIGHTS)}
    noise = np.random.default_rng(0).integers(0, 256, (16, *model.input_shape[1:]), np.uint8)
    network = OpenVinoEngine(files[XML], files[WEIGHTS], batch_size=len(noise), threads=1)
    theirs = np.asarray(model.predict_on_batch(noise))
    difference = float(np.abs(network.scores(noise) - theirs).max())
    if not difference <= TOLERANCE:
        return {}, difference, f"its scores in OpenVINO differ by {difference:.1e}"
    return files, difference, None


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Keep OpenVINO's converter from reporting to its makers, as it does but in CI.

    There is no switch for one process: `opt_in_out --opt_out` is one for a user's home.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _reason(error: Exception) -> str:
    """The line of OpenVINO's message that names the operation, or its first."""
    lines = [line.strip("- .\n") for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("No conversion rule")), lines[0])
