"""`cnnjobs export`: a bundle's model as one file for other programs, compared with the original.

The file says by itself what its scores mean: labels, threshold and preprocessing are in its
metadata, as JSON under the name `cnnjobs`. The temperature is part of the exported network.
"""

import dataclasses
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjobs import models
from cnnjobs.config import ExportConfig
from cnnjobs.errors import AccuracyError, BundleError, InputError, RunExistsError
from cnnjobs.metrics import calibration
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.engines import Images, OpenVinoEngine, Scores
from cnnjobs.models.openvino_export import TOLERANCE
from cnnjobs.models.openvino_import import converting, import_openvino, without_telemetry
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import apart, filesystem, json_files, s3

if TYPE_CHECKING:
    import keras

#: Where the metadata is in each format.
METADATA = "cnnjobs"

#: Of a SavedModel, the folder for files that TensorFlow does not read.
_EXTRA = f"assets.extra/{METADATA}.json"


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """The file or folder, and the largest difference of a probability from the bundle's own."""

    model: str
    format: str
    output: str
    size_bytes: int
    difference: float


@dataclass(frozen=True)
class _Format:
    """How a format is written, and how its files are scored.

    Attributes:
        suffix: of the output.
        write: the model and its metadata to a path.
        score: a path and images to probabilities.
    """

    suffix: str
    write: Callable[["keras.Model", str, Path], None]
    score: Callable[[Path, Images], Any]


def plan(config: ExportConfig) -> dict[str, Any]:
    """Read the bundle and check the output; what `--dry-run` prints.

    Raises:
        InputError: the output has another suffix or exists, or a package is missing.
    """
    bundle, output = _checked(config)
    return {"model": bundle.name, "format": config.format, "output": output}


def _checked(config: ExportConfig) -> tuple[Bundle, str]:
    """The bundle, which is hashed when it is read, and the output."""
    s3.use(**config.s3)
    bundle = bundles.read(config.bundle, expect=config.expect)
    output = filesystem.normalize(config.output)
    suffix = _FORMATS[config.format].suffix
    if not output.endswith(suffix):
        raise InputError(f"a file in format {config.format} must end in {suffix}, got {output}.")
    files = [output, f"{output.removesuffix(suffix)}.bin"] if suffix == ".xml" else [output]
    for file in files:
        if filesystem.exists(file):
            raise RunExistsError(f"{file} already exists; choose another name.")
    apart.check(output, [bundle.uri])
    if config.format == "onnx":
        _require_onnx()
    return bundle, output


def export(config: ExportConfig, progress: Progress = silent) -> ExportSummary:
    """Write the model in the format, if its scores are those of the bundle.

    Raises:
        InputError: see `plan`.
        BundleError: the model's temperature cannot be made part of the network.
        AccuracyError: the scores differ; nothing is written.
    """
    bundle, output = _checked(config)
    progress("export", 0, None)
    model = bundles.load_model(bundle)
    noise = np.random.default_rng(0).integers(0, 256, (16, *model.input_shape[1:]), np.uint8)
    # from dark to bright, so that scores differ
    noise = (noise * np.linspace(0.1, 1, 16)[:, None, None, None]).astype(np.uint8)
    raw: Scores = np.asarray(model.predict_on_batch(noise), np.float32)
    expected = calibration.scaled(raw, bundle.temperature)
    kind = _FORMATS[config.format]
    with tempfile.TemporaryDirectory() as folder, without_telemetry():
        path = Path(folder, f"model{kind.suffix}")
        kind.write(_with_temperature(model, bundle), _metadata(bundle), path)
        difference = float(np.abs(scores(path, config.format, noise) - expected).max())
        if not difference <= TOLERANCE:
            raise AccuracyError(
                f"the probabilities of the {config.format} file differ from the bundle's by "
                f"{difference:.1e}, more than {TOLERANCE:.0e}; nothing was written. Use another "
                "format."
            )
        size_bytes = _store(path, output)
    return ExportSummary(
        model=bundle.name,
        format=config.format,
        output=output,
        size_bytes=size_bytes,
        difference=difference,
    )


def scores(path: Path, kind: str, images: Images) -> Scores:
    """Probabilities that an exported file gives images, as programs that open it get them.

    Args:
        path: of the file, or the folder of a SavedModel.
        kind: onnx, openvino, saved-model or keras.
        images: (N, height, width, 1).

    Returns:
        (N, 1) of the positive class, or (N, labels).
    """
    return np.asarray(_FORMATS[kind].score(path, images), np.float32)


def _metadata(bundle: Bundle) -> str:
    """What the scores mean, and what to do to an image before the network, as JSON."""
    outputs = bundle.labels if bundle.positive is None else [bundle.positive]
    return json_files.text(
        {
            "model": bundle.name,
            "model_digest": bundle.model_digest,
            "bundle_digest": bundle.digest,
            "labels": list(bundle.labels),
            "positive": bundle.positive,
            "threshold": bundle.threshold,
            "input": "uint8, (images, height, width, 1), 0 black to 255 white",
            "output": f"float32, probability of {', '.join(outputs)}",
            "preprocessing": dataclasses.asdict(bundle.preprocessing),
            "created": bundle.created,
            "use": "research and teaching; not a medical device",
        },
        indent=None,
    )


def _with_temperature(model: "keras.Model", bundle: Bundle) -> "keras.Model":
    """The model whose last layer divides its logits by the bundle's temperature."""
    if bundle.temperature == 1:
        return model
    last = model.layers[-1]
    if not isinstance(last, models.import_keras().layers.Dense):
        raise BundleError(
            f"{bundle.uri} has a temperature, but no dense layer at its end that could contain "
            "it; train without --calibrate to export the model."
        )
    last.set_weights([weights / bundle.temperature for weights in last.get_weights()])
    return model


def _store(path: Path, output: str) -> int:
    """Write what was exported to its place; returns its size."""
    if path.is_dir():
        names = [name for name in sorted(path.rglob("*")) if name.is_file()]
        files = [(str(name.relative_to(path)), name.read_bytes()) for name in names]
        filesystem.write_folder(output, files)
        return sum(len(data) for _, data in files)
    size_bytes = 0
    # of OpenVINO's two, the one that completes them is last
    for part in sorted(path.parent.glob(f"{path.stem}.*")):
        data = part.read_bytes()
        filesystem.write_bytes(f"{output.removesuffix(path.suffix)}{part.suffix}", data)
        size_bytes += len(data)
    return size_bytes


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise InputError(
            "format onnx needs more packages; install them with: pip install 'cnnjobs[onnx]'."
        ) from error


def _write_onnx(model: "keras.Model", metadata: str, path: Path) -> None:
    import onnx

    with warnings.catch_warnings():
        # Keras asks NumPy for names that it no longer has
        warnings.simplefilter("ignore", FutureWarning)
        model.export(str(path), format="onnx", verbose=False)
    network = onnx.load(path)
    onnx.helper.set_model_props(network, {METADATA: metadata})
    onnx.save(network, path)


def _score_onnx(path: Path, images: Images) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def _write_openvino(model: "keras.Model", metadata: str, path: Path) -> None:
    with converting():
        model.export(str(path), format="openvino", verbose=False)
    openvino = import_openvino()
    network = openvino.Core().read_model(path)
    network.set_rt_info(metadata, METADATA)
    again = path.with_name("again.xml")
    openvino.save_model(network, again, compress_to_fp16=False)
    # the network has its weights open while they are replaced
    del network
    for part in (again, again.with_suffix(".bin")):
        part.replace(path.with_suffix(part.suffix))


def _score_openvino(path: Path, images: Images) -> Any:
    engine = OpenVinoEngine(
        path.read_bytes(), path.with_suffix(".bin").read_bytes(), batch_size=len(images), threads=1
    )
    return engine.scores(images)


def _write_saved_model(model: "keras.Model", metadata: str, path: Path) -> None:
    model.export(str(path), format="tf_saved_model", verbose=False)
    extra = path / _EXTRA
    extra.parent.mkdir()
    extra.write_text(metadata)


def _score_saved_model(path: Path, images: Images) -> Any:
    import tensorflow as tf

    # its variables live as long as it does
    loaded = tf.saved_model.load(str(path))
    return loaded.serve(images)


def _write_keras(model: "keras.Model", metadata: str, path: Path) -> None:
    model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{METADATA}.json", metadata)


def _score_keras(path: Path, images: Images) -> Any:
    model = models.import_keras().saving.load_model(path, compile=False)
    return model.predict_on_batch(images)


_FORMATS = {
    "onnx": _Format(".onnx", _write_onnx, _score_onnx),
    "openvino": _Format(".xml", _write_openvino, _score_openvino),
    "saved-model": _Format("", _write_saved_model, _score_saved_model),
    "keras": _Format(".keras", _write_keras, _score_keras),
}
