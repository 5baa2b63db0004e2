"""The model of a bundle in OpenVINO's format: exported once, checked, and kept in the bundle.

openvino/model.xml, model.bin   the network in OpenVINO's format (IR), float32
openvino/export.json            the model it belongs to, its hashes, or why there is none
openvino-int8/                  the same of the network that `cnnjobs quantize` made of it
"""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnjobs import models
from cnnjobs.errors import BundleError
from cnnjobs.models import bundle as bundles
from cnnjobs.models import bundle_seal
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.engines import OpenVinoEngine
from cnnjobs.models.openvino_import import converting, import_openvino, without_telemetry
from cnnjobs.storage import filesystem, json_files

if TYPE_CHECKING:
    import keras

XML, WEIGHTS, DESCRIPTION = "model.xml", "model.bin", "export.json"

#: The network of each precision; bfloat16 is how the processor computes the one in float32.
_FOLDERS = {"fp32": "openvino", "bf16": "openvino", "int8": "openvino-int8"}

#: Largest difference from Keras' probabilities at which an export counts as the same model.
#: For the models of this package it is below 1e-6.
TOLERANCE = 1e-5
#: The same of an int8 network, on noise, which is far from the images it was calibrated on.
_INT8_TOLERANCE = 0.25

#: Images of noise on which two engines are compared.
_NOISE = 16


@dataclass(frozen=True, kw_only=True)
class Export:
    """The content of `export.json`.

    Attributes:
        fingerprint: of the bundle's model.
        model_sha256: of the `model.keras` it was made from; older exports have none.
        sha256: of the two files; empty if there are none.
        difference: largest difference from Keras' probabilities, on 16 images of noise; of an int8
            network from the float32 network's, on the images it was tested on.
        refused: why the model has no export; None if it has one.
        openvino: version that made it.
    """

    fingerprint: str
    sha256: Mapping[str, str]
    difference: float | None
    refused: str | None
    openvino: str
    model_sha256: str = ""


def at_precision(bundle: Bundle, precision: str, *, expect: Sequence[str] = ()) -> Bundle:
    """The bundle, to be scored in that precision (fp32, bf16 or int8), which its name then says.

    The digest of the model is of its float32 network: for int8, `expect` must be the bundle's.

    Raises:
        BundleError: there is no int8 network in it, or `expect` does not have its digest.
    """
    if precision == "fp32":
        return bundle
    at = dataclasses.replace(bundle, variant=precision)
    if precision != "int8":
        return at
    export = find(at)
    if export is None:
        raise BundleError(
            f"{bundle.uri} has no int8 network; make one with cnnjobs quantize, or score with "
            "--precision fp32."
        )
    if expect and bundle.digest not in expect:
        raise BundleError(
            f"{bundle.uri}: the expected digest is the model's, which does not cover its int8 "
            f"network; give the bundle's: {bundle.digest}."
        )
    digest = bundle_seal.sha256("".join(sorted(export.sha256.values())).encode())
    return dataclasses.replace(bundle, variant=f"{precision}-{digest[:20]}")


def find(bundle: Bundle) -> Export | None:
    """The export for the bundle's precision; None if there is none, or it is another model's."""
    try:
        data = filesystem.read_file(_part(bundle, DESCRIPTION), limit=json_files.MAX_BYTES)
        export = Export(**json_files.parsed(data))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(export.sha256, dict) or not isinstance(export.refused, str | None):
        return None
    is_its_own = export.model_sha256 in ("", bundle.model_sha256)
    return export if is_its_own and export.fingerprint == bundle.fingerprint else None


def write(bundle: Bundle, model: "keras.Model | None" = None) -> Export:
    """Export the bundle's model into the bundle; imports TensorFlow.

    For a model that OpenVINO does not support or scores differently, the export contains only the
    reason; the engine `auto` then chooses Keras. A seal is renewed.

    Args:
        bundle: of the model.
        model: the bundle's model, if it is loaded already.

    Raises:
        StorageError: the bundle cannot be written.
    """
    model = model if model is not None else bundles.load_model(bundle)
    return store(bundle, *_exported(model))


def store(
    bundle: Bundle, files: Mapping[str, bytes], difference: float | None, refused: str | None = None
) -> Export:
    """Write a network for the bundle's precision into the bundle; `DESCRIPTION` is written last.

    Args:
        bundle: of the model.
        files: `XML` and `WEIGHTS`; none if there is a reason in `refused`.
        difference: see `Export`.
        refused: see `Export`.

    Raises:
        StorageError: the bundle cannot be written.
    """
    export = Export(
        fingerprint=bundle.fingerprint,
        sha256={name: bundle_seal.sha256(data) for name, data in files.items()},
        difference=difference,
        refused=refused,
        openvino=metadata.version("openvino"),
        model_sha256=bundle.model_sha256,
    )
    written = {**files, DESCRIPTION: json_files.text(export).encode()}
    folder = _FOLDERS[bundle.precision]
    bundle_seal.add(bundle.uri, {f"{folder}/{name}": data for name, data in written.items()})
    return export


def check(bundle: Bundle) -> float | None:
    """Largest difference of the export from Keras' probabilities; imports TensorFlow.

    None if the bundle has no export.

    Raises:
        BundleError: they differ by more than `TOLERANCE`, or one of the two cannot be opened.
    """
    export = find(bundle)
    if export is None or export.refused is not None:
        return None
    difference = _difference(_opened(*read(bundle)), bundles.load_model(bundle))
    if not difference <= (_INT8_TOLERANCE if bundle.precision == "int8" else TOLERANCE):
        raise BundleError(
            f"{_part(bundle, XML)} does not score as {bundles.MODEL} does (they differ by "
            f"{difference:.1e}): one of them is not from this training; use an unchanged copy of "
            "the bundle."
        )
    return difference


def read(bundle: Bundle) -> tuple[bytes, bytes]:
    """The network and its weights, for `openvino.Core.read_model`.

    Raises:
        BundleError: there is no export, or its files have changed.
    """
    export = find(bundle)
    if export is None or export.refused is not None:
        reason = export.refused if export is not None else "it was never made"
        raise BundleError(
            f"{bundle.uri} has no OpenVINO export ({reason}); use --engine keras or auto."
        )
    network, weights = (_read_checked(bundle, export, name) for name in (XML, WEIGHTS))
    return network, weights


def _read_checked(bundle: Bundle, export: Export, name: str) -> bytes:
    try:
        data = filesystem.read_file(_part(bundle, name))
    except FileNotFoundError:
        data = b""
    if bundle.is_sealed:
        bundles.check_unchanged(bundle, f"{_FOLDERS[bundle.precision]}/{name}", data)
    if bundle_seal.sha256(data) != export.sha256.get(name):
        raise BundleError(
            f"{_part(bundle, name)} is not the file that {DESCRIPTION} describes; delete the "
            f"folder {_FOLDERS[bundle.precision]}, and {_how_to_make(bundle)}."
        )
    return data


def _how_to_make(bundle: Bundle) -> str:
    if bundle.precision == "int8":
        return "make it again with cnnjobs quantize"
    return "it will be exported again"


def _part(bundle: Bundle, name: str) -> str:
    return filesystem.join(bundle.uri, _FOLDERS[bundle.precision], name)


def _exported(model: "keras.Model") -> tuple[dict[str, bytes], float | None, str | None]:
    """The files, the largest difference from Keras, and the reason if there are no files."""
    models.import_keras()
    import_openvino()
    from openvino import frontend

    unsupported = (frontend.OpConversionFailure, frontend.GeneralFailure, NotImplementedError)
    with tempfile.TemporaryDirectory() as folder, without_telemetry(), converting():
        try:
            model.export(str(Path(folder, XML)), format="openvino", verbose=False)
        except unsupported as error:
            return {}, None, f"OpenVINO does not support it: {_reason(error)}"
        files = {name: Path(folder, name).read_bytes() for name in (XML, WEIGHTS)}
    try:
        engine = _opened(files[XML], files[WEIGHTS])
    except RuntimeError as error:  # what OpenVINO converts, its plugin of the CPU may not compute
        return {}, None, f"OpenVINO does not support it: {_reason(error)}"
    difference = _difference(engine, model)
    if not difference <= TOLERANCE:
        return {}, difference, f"its scores differ by {difference:.1e} in OpenVINO"
    return files, difference, None


def _opened(network: bytes, weights: bytes) -> OpenVinoEngine:
    return OpenVinoEngine(network, weights, batch_size=_NOISE, threads=1)


def _difference(engine: OpenVinoEngine, model: "keras.Model") -> float:
    """The largest between the two engines' probabilities, on images of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (_NOISE, *model.input_shape[1:]), np.uint8)
    expected = np.asarray(model.predict_on_batch(noise))
    return float(np.abs(engine.scores(noise) - expected).max())


def _reason(error: Exception) -> str:
    """The line of OpenVINO's message that names the operation, or the first line."""
    lines = [line.strip("- .\n") for line in str(error).splitlines() if line.strip()]
    named = ("No conversion rule", "Unsupported operation")
    return next((line for line in lines if line.startswith(named)), lines[0])
