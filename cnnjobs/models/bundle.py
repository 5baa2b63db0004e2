"""The model bundle: a directory with everything that scoring needs, and no code to run.

model.keras      architecture and weights (in Keras' format, loaded in safe mode)
bundle.json      labels, positive class, preprocessing, threshold, metrics, versions
summary.txt      the layers with their shapes and parameters, as printed by Keras
images.parquet   path, content hash and split of the images used to train the model
openvino/        the model in OpenVINO's format; see `openvino_export`
"""

import dataclasses
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from cnnjobs import models, schema
from cnnjobs.errors import BundleError, ConfigError
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import bundle_checks
from cnnjobs.storage import filesystem, json_files, run_dir, s3

if TYPE_CHECKING:
    import keras

MODEL, DESCRIPTION, IMAGES = "model.keras", "bundle.json", "images.parquet"
SUMMARY = "summary.txt"

#: Fields of a bundle that are not in `bundle.json`.
_NOT_IN_FILE = ("uri", "variant")

#: Commands whose run is given in place of the bundle in it.
_TRAININGS = ("train", "tune")

#: Largest file of a bundle: models of X-rays have less than 1 GB.
_MAX_BYTES = 4 << 30

#: What Keras raises for files that it did not write.
_REFUSALS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError),
)

#: Columns of the manifest that the bundle keeps, to recognize the images of the training later.
_IMAGE_COLUMNS = ["path", "content_hash", "group", "split"]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The content of `bundle.json`.

    Attributes:
        architecture: name of the model's architecture.
        labels: the classes; if there are more than two, in the order of the model's outputs.
        positive: of two classes, the one whose probability the model gives; otherwise None.
        preprocessing: turns files into pixels, in training and in scoring.
        threshold: lowest probability of `positive` at which it is predicted.
        fingerprint: 16 hex digits that depend on architecture, weights, threshold and temperature.
        model_sha256: of the file `model.keras`.
        manifest_fingerprint: of the manifest used for training.
        metrics: on the validation split, after the last epoch.
        versions: of the packages used for training.
        created: when, in UTC (ISO 8601).
        temperature: divides the model's logits; see `calibration.scaled`.
        uri: location of the bundle; not part of the file.
        variant: how the model is computed if not in float32: `bf16`, or `int8` and a digest of
            that network; not part of the file. See `openvino_export.at_precision`.
    """

    architecture: str
    labels: Sequence[str]
    positive: str | None
    preprocessing: Preprocessing
    threshold: float
    fingerprint: str
    model_sha256: str
    manifest_fingerprint: str
    metrics: Mapping[str, float | None]
    versions: Mapping[str, str]
    created: str
    temperature: float = 1.0
    uri: str = field(default="", compare=False)
    variant: str = ""

    @property
    def name(self) -> str:
        """Architecture, fingerprint and variant: the `model` column of predictions."""
        return "-".join(filter(None, (self.architecture, self.fingerprint, self.variant)))

    @property
    def precision(self) -> str:
        """In which the model is computed: fp32, bf16 or int8."""
        return self.variant.partition("-")[0] or "fp32"


def write(
    uri: str,
    model: "keras.Model",
    *,
    architecture: str,
    labels: Sequence[str],
    positive: str | None,
    preprocessing: Preprocessing,
    images: pa.Table,
    manifest_fingerprint: str,
    metrics: Mapping[str, float | None],
    versions: Mapping[str, str],
    threshold: float = 0.5,
    temperature: float = 1.0,
) -> Bundle:
    """Write the bundle of a trained model; `bundle.json` is written last and completes it.

    `images` are the rows of the manifest that were used to train and validate it.
    """
    saved = _model_file(model)
    bundle = Bundle(
        architecture=architecture,
        labels=list(labels),
        positive=positive,
        preprocessing=preprocessing,
        threshold=threshold,
        fingerprint=_fingerprint(model, threshold, temperature),
        model_sha256=hashlib.sha256(saved).hexdigest(),
        manifest_fingerprint=manifest_fingerprint,
        metrics=dict(metrics),
        versions=dict(versions),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        temperature=temperature,
        uri=uri,
    )
    description = {"bundle_version": schema.BUNDLE_VERSION, **dataclasses.asdict(bundle)}
    for name in _NOT_IN_FILE:
        del description[name]
    filesystem.write_bytes(filesystem.join(uri, MODEL), saved)
    filesystem.write_bytes(filesystem.join(uri, SUMMARY), _layers(model).encode())
    filesystem.write_table(filesystem.join(uri, IMAGES), images.select(_IMAGE_COLUMNS))
    filesystem.write_bytes(filesystem.join(uri, DESCRIPTION), json_files.text(description).encode())
    return bundle


def read(uri: str) -> Bundle:
    """Read `bundle.json` of a bundle, or of the run that trained it.

    Raises:
        BundleError: a file is missing, damaged or has another schema version.
    """
    uri = filesystem.normalize(uri)
    if not filesystem.exists(filesystem.join(uri, DESCRIPTION)):
        inner = filesystem.join(uri, "bundle")
        if filesystem.exists(filesystem.join(inner, DESCRIPTION)):
            uri = inner
    try:
        content = json_files.parsed(_read_part(uri, DESCRIPTION, limit=json_files.MAX_BYTES))
        version = content.pop("bundle_version")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{uri}/{DESCRIPTION} is damaged; train again.") from error
    if version != schema.BUNDLE_VERSION:
        raise BundleError(
            f"{uri} is a bundle with schema version {version}, but this cnnjobs reads version "
            f"{schema.BUNDLE_VERSION}; train again."
        )
    for part in (MODEL, IMAGES):
        if not filesystem.exists(filesystem.join(uri, part)):
            _raise_missing(uri, part)
    problem = bundle_checks.description_problem(content)
    if problem is not None:
        raise BundleError(f"{uri}/{DESCRIPTION} is damaged: {problem}; train again.")
    try:
        preprocessing = Preprocessing(**content.pop("preprocessing"))
        return Bundle(**content, preprocessing=preprocessing, uri=uri, variant="")
    except (TypeError, KeyError, ConfigError) as error:
        raise BundleError(f"{uri}/{DESCRIPTION} is damaged; train again.") from error


def copy(bundle: Bundle, uri: str) -> Bundle:
    """Copy a bundle; `bundle.json` is written last."""
    for part in (MODEL, SUMMARY, IMAGES, DESCRIPTION):
        filesystem.write_bytes(filesystem.join(uri, part), _read_part(bundle.uri, part))
    return dataclasses.replace(bundle, uri=uri)


def load_model(bundle: Bundle) -> "keras.Model":
    """The Keras model, uncompiled, in safe mode: no code in the file is run.

    Raises:
        BundleError: `model.keras` is missing or not the file that was written.
    """
    saved = _read_part(bundle.uri, MODEL)
    if hashlib.sha256(saved).hexdigest() != bundle.model_sha256:
        raise BundleError(
            f"{bundle.uri}/{MODEL} is not the file that {DESCRIPTION} describes; "
            "copy the bundle again or train again."
        )
    saving = models.import_keras().saving
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / MODEL
        file.write_bytes(saved)
        problem = bundle_checks.archive_problem(file)
        if problem is not None:
            raise BundleError(
                f"{bundle.uri}/{MODEL} is refused: {problem}; use a bundle that cnnjobs train "
                "wrote."
            )
        try:
            model: keras.Model = saving.load_model(file, compile=False, safe_mode=True)
        except _REFUSALS as error:
            raise BundleError(
                f"{bundle.uri}/{MODEL} cannot be loaded in safe mode; use a bundle that "
                "cnnjobs train wrote."
            ) from error
    expected = (bundle.preprocessing.height, bundle.preprocessing.width, 1)
    if tuple(model.input_shape[1:]) != expected:
        raise BundleError(
            f"{bundle.uri}/{MODEL} takes images of {model.input_shape[1:]}, but {DESCRIPTION} "
            f"says {expected}; copy the bundle again or train again."
        )
    return model


def seen_images(bundle: Bundle) -> pa.Table:
    """The images that trained the model (split train) or validated it (validation)."""
    data = _read_part(bundle.uri, IMAGES)
    try:
        return pq.read_table(pa.BufferReader(data)).select(_IMAGE_COLUMNS)
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise BundleError(f"{bundle.uri}/{IMAGES} is damaged; train again.") from error


def _read_part(uri: str, part: str, *, limit: int = _MAX_BYTES) -> bytes:
    try:
        return filesystem.read_bytes(filesystem.join(uri, part), limit=limit)
    except (FileNotFoundError, NotADirectoryError):
        _raise_missing(uri, part)
    except OSError as error:
        raise BundleError(f"{uri}/{part} cannot be read: {s3.reason(error)}.") from error


def _raise_missing(uri: str, part: str) -> NoReturn:
    for run in (uri, uri.removesuffix("/bundle")):
        record = run_dir.read_record(run)
        if record is not None and record.get("command") in _TRAININGS:
            raise BundleError(_unfinished(run, record))
    raise BundleError(
        f"{uri} is not a complete bundle: {part} is missing; use the run of a training."
    )


def _unfinished(run: str, record: Mapping[str, Any]) -> str:
    """Why a training's run has no bundle, and what to do."""
    is_tune = record["command"] == "tune"
    way = "start it again with --overwrite" if is_tune else "continue it with --resume"
    if record["status"] == "running":
        return (
            f"the training in {run} has not finished: it was started {record['started']} and is "
            f"still running, or was killed; wait for it, or {way}."
        )
    reason = f" ({record['error'].rstrip('.')})" if record.get("error") else ""
    return f"the training in {run} {record['status']} at {record['ended']}{reason}; {way}."


def _model_file(model: "keras.Model") -> bytes:
    """The model in Keras' format, without the optimizer, which would triple its size."""
    # clone_model would copy the optimizer
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / MODEL
        bare.save(file)
        return file.read_bytes()


def _layers(model: "keras.Model") -> str:
    """The table of layers, 100 columns wide on any terminal."""
    lines: list[str] = []
    model.summary(line_length=100, print_fn=lines.append)
    return "\n".join(lines)


def _fingerprint(model: "keras.Model", threshold: float, temperature: float) -> str:
    # get_config leaves out the compilation settings, which to_json includes
    config = json_files.text(model.get_config(), indent=None, sort_keys=True)
    digest = hashlib.sha256(config.encode())
    for weights in model.get_weights():
        digest.update(weights.tobytes())
    if (threshold, temperature) != (0.5, 1.0):
        # they change predictions, so a run must not be resumed with other values
        digest.update(f"{threshold} {temperature}".encode())
    return digest.hexdigest()[:16]
