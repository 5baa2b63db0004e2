"""The model bundle: a directory with everything that scoring needs, and no code to run.

model.keras      architecture and weights (in Keras' format, loaded in safe mode)
bundle.json      labels, positive class, preprocessing, threshold, metrics, versions
summary.txt      the layers with their shapes and parameters, as printed by Keras
images.parquet   path, content hash and split of the images used to train the model
openvino/        the model in OpenVINO's format; see `openvino_export`
SHA256SUMS       seals all of them and the results added later; see `bundle_seal`
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from cnnjobs import schema
from cnnjobs.config.printable import printable
from cnnjobs.errors import BundleError, ConfigError
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import bundle_checks, bundle_seal, keras_file
from cnnjobs.storage import filesystem, json_files, run_dir, s3

if TYPE_CHECKING:
    import keras

MODEL, DESCRIPTION, IMAGES, SUMMARY = "model.keras", "bundle.json", "images.parquet", "summary.txt"

#: Commands whose run is given in place of the bundle in it.
_TRAININGS = ("train", "tune")

#: Digits of the digest in a name. Not 16, as fingerprints have: no unsealed bundle can be named
#: like a sealed one.
_NAME_DIGITS = 20

#: Attributes that are not in the file.
_NOT_STORED = ("uri", "parts", "description", "is_sealed", "variant")

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
        uri: location of the bundle; not part of the file, as the following.
        parts: SHA-256 of each file of the bundle, as it was when it was opened.
        description: SHA-256 of what is in `bundle.json`, but for `created`.
        is_sealed: whether `SHA256SUMS` says the same of them; older bundles have none.
        variant: how the model is computed if not in float32: `bf16`, or `int8` and a digest of
            that network. See `openvino_export.at_precision`.
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
    parts: Mapping[str, str] = field(default_factory=dict, repr=False)
    description: str = field(default="", repr=False)
    is_sealed: bool = False
    variant: str = ""

    @property
    def name(self) -> str:
        """The `model` column of predictions: architecture, 20 digits of the digest, and variant.

        An unsealed bundle only has the 16 digits of its own `fingerprint`.
        """
        return self.names[0]

    @property
    def names(self) -> Sequence[str]:
        """Its name, and the one that it had before it was sealed."""
        # which had 8 digits of an int8 network
        variant = self.variant[: len("int8-") + 8]
        before = "-".join(filter(None, (self.architecture, self.fingerprint, variant)))
        if not self.is_sealed:
            return (before,)
        digits = self.model_digest.removeprefix("sha256:")[:_NAME_DIGITS]
        return ("-".join(filter(None, (self.architecture, digits, self.variant))), before)

    @property
    def precision(self) -> str:
        """In which the model is computed: fp32, bf16 or int8."""
        return self.variant.partition("-")[0] or "fp32"

    @property
    def model_digest(self) -> str:
        """`sha256:…` of the model; it stays when a result or an int8 network is added."""
        return bundle_seal.model_digest(self.parts, self.description)

    @property
    def digest(self) -> str:
        """`sha256:…` of the whole bundle, with results and int8 network."""
        return bundle_seal.bundle_digest(self.parts)


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
    """Write and seal the bundle of a trained model; `bundle.json` completes it.

    `images` are the rows of the manifest that were used to train and validate it.
    """
    saved = keras_file.save(model)
    bundle = Bundle(
        architecture=architecture,
        labels=list(labels),
        positive=positive,
        preprocessing=preprocessing,
        threshold=threshold,
        fingerprint=keras_file.fingerprint(model, threshold, temperature),
        model_sha256=bundle_seal.sha256(saved),
        manifest_fingerprint=manifest_fingerprint,
        metrics=dict(metrics),
        versions=dict(versions),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        temperature=temperature,
        uri=uri,
    )
    description = {"bundle_version": schema.BUNDLE_VERSION, **dataclasses.asdict(bundle)}
    for name in _NOT_STORED:
        del description[name]
    filesystem.write_bytes(filesystem.join(uri, MODEL), saved)
    filesystem.write_bytes(filesystem.join(uri, SUMMARY), keras_file.layers(model).encode())
    filesystem.write_table(filesystem.join(uri, IMAGES), images.select(_IMAGE_COLUMNS))
    filesystem.write_bytes(filesystem.join(uri, DESCRIPTION), json_files.text(description).encode())
    bundle_seal.seal(uri)
    return read(uri)


def read(uri: str, *, expect: Sequence[str] = ()) -> Bundle:
    """Read `bundle.json` of a bundle, or of the run that trained it, and digest all its files.

    `expect` has digests (`sha256:…`), one of which the bundle or its model must have, if given.

    Raises:
        BundleError: a file is missing, damaged, of another schema version or not the one that was
            sealed; or the digest is another.
    """
    uri = filesystem.normalize(uri)
    if not filesystem.exists(filesystem.join(uri, DESCRIPTION)):
        inner = filesystem.join(uri, "bundle")
        if filesystem.exists(filesystem.join(inner, DESCRIPTION)):
            uri = inner
    try:
        description = _read_part(uri, DESCRIPTION, limit=json_files.MAX_BYTES)
        content = json_files.parsed(description)
        version = content.pop("bundle_version")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{uri}/{DESCRIPTION} is damaged; train again.") from error
    if version != schema.BUNDLE_VERSION:
        raise BundleError(
            f"{uri} is a bundle with schema version {printable(str(version)[:20])}, but this "
            f"cnnjobs reads version {schema.BUNDLE_VERSION}; train again."
        )
    for part in (MODEL, IMAGES):
        if not filesystem.exists(filesystem.join(uri, part)):
            _raise_missing(uri, part)
    problem = bundle_checks.description_problem(content)
    if problem is not None:
        raise BundleError(f"{uri}/{DESCRIPTION} is damaged: {problem}; train again.")
    try:
        preprocessing = Preprocessing(**content["preprocessing"])
        ours = {"preprocessing": preprocessing, "description": bundle_seal.timeless(content)}
        bundle = Bundle(**{**content, **ours})
    except (TypeError, KeyError, ConfigError) as error:
        raise BundleError(f"{uri}/{DESCRIPTION} is damaged; train again.") from error
    parts, is_sealed = bundle_seal.opened(uri)
    bundle = dataclasses.replace(bundle, uri=uri, parts=parts, is_sealed=is_sealed)
    check_unchanged(bundle, DESCRIPTION, description)
    if expect and not {bundle.digest, bundle.model_digest} & set(expect):
        raise BundleError(
            f"{uri} has the digest {bundle.digest} (its model {bundle.model_digest}), not the "
            f"expected {' or '.join(expect)}; use the bundle whose digest that is."
        )
    return bundle


def identity(models: Sequence[Bundle]) -> dict[str, Any]:
    """What `run.json` records of the models used: the name in the `model` column, and digests."""
    return {
        "model": "+".join(each.name for each in models),
        "bundle_digests": [each.digest for each in models],
    }


def are_named(models: Sequence[Bundle], name: str | None) -> bool:
    """Whether the record of a run names these models, by the names before they were sealed, too."""
    names = itertools.product(*(each.names for each in models))
    return any("+".join(each) == name for each in names)


def copy(bundle: Bundle, uri: str) -> Bundle:
    """Copy a bundle's files; `bundle.json` completes it."""
    for part in sorted(bundle.parts, key=lambda part: part == DESCRIPTION):
        filesystem.write_bytes(filesystem.join(uri, part), read_part(bundle, part))
    if bundle.is_sealed:
        bundle_seal.seal(uri)
    return dataclasses.replace(bundle, uri=uri)


def read_part(bundle: Bundle, part: str) -> bytes:
    """A file of a bundle, unchanged since it was opened.

    Raises:
        BundleError: it is missing, cannot be read, or is another file now.
    """
    data = _read_part(bundle.uri, part)
    check_unchanged(bundle, part, data)
    return data


def load_model(bundle: Bundle) -> "keras.Model":
    """The Keras model, uncompiled, in safe mode: no code in the file is run.

    Raises:
        BundleError: `model.keras` is missing or not the file that was written.
    """
    saved = read_part(bundle, MODEL)
    if bundle_seal.sha256(saved) != bundle.model_sha256:
        raise BundleError(
            f"{bundle.uri}/{MODEL} is not the file that {DESCRIPTION} describes; "
            "copy the bundle again or train again."
        )
    model = keras_file.load(saved, f"{bundle.uri}/{MODEL}")
    expected = (bundle.preprocessing.height, bundle.preprocessing.width, 1)
    if tuple(model.input_shape[1:]) != expected:
        raise BundleError(
            f"{bundle.uri}/{MODEL} takes images of {model.input_shape[1:]}, but {DESCRIPTION} "
            f"says {expected}; copy the bundle again or train again."
        )
    return model


def seen_images(bundle: Bundle) -> pa.Table:
    """The images that trained the model (split train) or validated it (validation)."""
    data = read_part(bundle, IMAGES)
    try:
        return pq.read_table(pa.BufferReader(data)).select(_IMAGE_COLUMNS)
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise BundleError(f"{bundle.uri}/{IMAGES} is damaged; train again.") from error


def check_unchanged(bundle: Bundle, part: str, data: bytes) -> None:
    """Raise BundleError if these are not the bytes that the file had when the bundle was opened."""
    if bundle_seal.sha256(data) != bundle.parts.get(part):
        where = f"{bundle.uri}/{part}"
        raise BundleError(f"{where} has changed since the bundle was opened; start again.")


def _read_part(uri: str, part: str, *, limit: int = bundle_seal.MAX_BYTES) -> bytes:
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
    way = "continue it with --resume"
    if record["status"] == "running":
        return (
            f"the training in {run} has not finished: it was started {record['started']} and is "
            f"still running, or was killed; wait for it, or {way}."
        )
    reason = f" ({record['error'].rstrip('.')})" if record.get("error") else ""
    return f"the training in {run} {record['status']} at {record['ended']}{reason}; {way}."
