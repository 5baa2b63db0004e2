"""Bundles made to harm: each is refused in one line, runs no code, and reads or fetches no file.

The tricks are those of the CVEs against Keras, sealed as whoever made the bundle would seal it, and
are tried by every command that opens a model. `pytest -s -m "slow or not slow"` on this file prints
a table of tricks and commands, and with which words each was refused.
"""

import copy
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cnnjobs import models
from cnnjobs.config import (
    AuditConfig,
    BundleConfig,
    EvaluateConfig,
    ExplainConfig,
    IndexConfig,
    PredictConfig,
    PredictOneConfig,
    QuantizeConfig,
    TrainConfig,
)
from cnnjobs.data import synthetic
from cnnjobs.data.index import index
from cnnjobs.errors import BundleError, CnnjobsError, ImageError, InputError, TrainingError
from cnnjobs.evaluation.audit import audit
from cnnjobs.evaluation.evaluate import evaluate
from cnnjobs.evaluation.explain import explain
from cnnjobs.evaluation.quantize import quantize
from cnnjobs.imaging import reading
from cnnjobs.inference import bundle_digests
from cnnjobs.inference.predict import predict
from cnnjobs.inference.predict_one import predict_one
from cnnjobs.models import bundle as bundles
from cnnjobs.models import bundle_seal
from cnnjobs.models.bundle import Bundle
from cnnjobs.training.train import train
from tests.support.bundles import write_bundle

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HOSTILE = (
    *(None, True, False, 0, -1, 1, 2, 0.5, 1e308, -1e308, 10**400, 200_000, float("nan")),
    *(float("inf"), "", "x", "\x00\x1b[2J\n", "x" * 100_000, "opacity", "0" * 16),
    *([], ["a", "b"], [[]], ["a"] * 20_000, {}, {"a": {"b": []}}, {"height": 200_000}),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("made") / "bundle", "covid-gap")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("archive") / "images"
    synthetic.write_archive(folder, num_images=16, num_broken=0)
    return str(folder)


@pytest.fixture(scope="module")
def manifest(archive: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = str(tmp_path_factory.mktemp("manifest") / "manifest.parquet")
    index(IndexConfig(sources=(archive,), output=file))
    return file


@pytest.fixture
def copied(made: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.uri, tmp_path / "bundle"))


def test_every_value_of_the_description_replaced_by_every_hostile_one_is_used_or_refused(
    copied: Path, archive: str
) -> None:
    shutil.rmtree(copied / "openvino")
    (copied / "SHA256SUMS").unlink()
    file = copied / "bundle.json"
    described = json.loads(file.read_text())
    image = next(path for path in sorted(Path(archive).rglob("*.*")) if path.suffix == ".png")
    refused = opened = 0
    for keys in _paths(described):
        for value in HOSTILE:
            file.write_text(json.dumps(_replaced(described, keys, value)))
            bundle, message = _opened(copied)
            if bundle is None:
                refused += 1
                assert "\n" not in message
                assert len(message) < 400 + len(str(copied)), (keys, str(value)[:50])
                continue
            opened += 1
            assert bundle.positive in bundle.labels
            assert 0 <= bundle.threshold < float("inf")
            assert 0 < bundle.temperature < float("inf")
            decoded = reading.decoded(image.read_bytes(), bundle.preprocessing)
            assert isinstance(decoded, ImageError) or decoded.pixels.size
    print(f"{refused} refused, {opened} used")  # noqa: T201 - a figure of SECURITY.md
    assert refused > 400
    assert opened > 20


@pytest.mark.parametrize("text", ["[" * 100_000, '{"labels": ' * 50_000, "9" * 10_000, "NaN", "{}"])
def test_results_and_descriptions_of_an_export_that_are_no_json_do_not_count(
    copied: Path, text: str
) -> None:
    for name in ("evaluation.json", "audit.json", "openvino/export.json"):
        (copied / name).write_text(text)
    bundle_seal.seal(str(copied))
    shown = bundle_digests.show(BundleConfig(bundle=str(copied)))
    assert (shown.evaluated, shown.audited) == (None, None)
    assert not bundle_digests.verify(BundleConfig(bundle=str(copied))).differences


def _jax_layer(config: dict[str, Any], marker: Path) -> None:
    _first_layer(config).update(
        module="keras.layers", class_name="JaxLayer", registered_name="JaxLayer"
    )


def _torch_layer(config: dict[str, Any], marker: Path) -> None:
    layer = _first_layer(config)
    layer.update(module="keras.layers", class_name="TorchModuleWrapper")
    layer["config"] = {"module": "gASVAA==", "name": "torch"}


def _lambda(config: dict[str, Any], marker: Path) -> None:
    keras = models.import_keras()
    path = str(marker)
    layer = keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1])  # noqa: PTH123
    _replace_layer(config, json.loads(json.dumps(keras.saving.serialize_keras_object(layer))))


def _call(module: str, name: str, *arguments: Any) -> Callable[[dict[str, Any], Path], None]:
    """A function of another module in the place of a layer, called with arguments."""

    def change(config: dict[str, Any], marker: Path) -> None:
        given = [str(marker) if each == "MARKER" else each for each in arguments]
        layer = _first_layer(config)
        layer.update(module=module, class_name="function", config=name, registered_name=name)
        layer["inbound_nodes"] = [{"args": given, "kwargs": {}}]

    return change


def _activation(module: str, name: str) -> Callable[[dict[str, Any], Path], None]:
    """A function of another module as an activation."""

    def change(config: dict[str, Any], marker: Path) -> None:
        config["config"]["layers"][-1]["config"]["activation"] = {
            "module": module,
            "class_name": "function",
            "config": name,
            "registered_name": "function",
        }

    return change


def _vocabulary(class_name: str, where: str) -> Callable[[dict[str, Any], Path], None]:
    """A layer that reads its vocabulary from a file or URL."""

    def change(config: dict[str, Any], marker: Path) -> None:
        marker.with_suffix(".secret").write_text("a\nb\n")
        source = str(marker.with_suffix(".secret")) if where == "file" else where
        layer = _first_layer(config)
        layer.update(module="keras.layers", class_name=class_name, registered_name=None)
        layer["config"] = {"name": "look", "vocabulary": source}

    return change


def _unsafe_first(config: dict[str, Any], marker: Path) -> None:
    """A first layer that switches safe mode off, then a Lambda."""
    _call("keras.config", "enable_unsafe_deserialization")(config, marker)
    _lambda({"config": {"layers": config["config"]["layers"][1:]}}, marker)


TRICKS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "CVE-2024-3660 Lambda": _lambda,
    "CVE-2025-1550 os.system": _call("os", "system", "touch MARKER"),
    "CVE-2025-1550 builtins.exec": _activation("builtins", "exec"),
    "CVE-2025-8747 get_file": _call("keras.utils", "get_file", "x", "http://127.0.0.1:9/x"),
    "CVE-2025-8747 activation": _activation("keras.utils", "get_file"),
    "CVE-2025-9906 enable_unsafe_deserialization": _unsafe_first,
    "CVE-2025-12058 StringLookup of a file": _vocabulary("StringLookup", "file"),
    "CVE-2025-12058 StringLookup of a URL": _vocabulary("StringLookup", "http://127.0.0.1:9/x"),
    "CVE-2025-12058 IndexLookup of a file": _vocabulary("IntegerLookup", "file"),
    "CVE-2025-12058 TextVectorization": _vocabulary("TextVectorization", "file"),
    "CVE-2025-12060 get_file extracts": _activation("keras.utils", "get_file"),
    "another backend: JaxLayer": _jax_layer,
    "another backend: TorchModuleWrapper": _torch_layer,
}


#: A command that starts processes tries three times: of these, the first two run in CI.
_WITH_PROCESSES = [
    *list(TRICKS)[:2],
    *(pytest.param(name, marks=pytest.mark.table) for name in list(TRICKS)[2:]),
]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that a trick leaves if it works."""
    return tmp_path / "ran"


@pytest.fixture(params=TRICKS)
def trick(request: pytest.FixtureRequest, copied: Path, marker: Path) -> str:
    """The name of a trick, which is in the copied bundle."""
    _rewrite(copied, lambda config: TRICKS[request.param](config, marker))
    marker.unlink(missing_ok=True)
    return str(request.param)


@pytest.mark.filterwarnings("ignore:The `lambda` passed:UserWarning")
def test_no_command_falls_for_a_trick_in_a_model_file(
    copied: Path, archive: str, tmp_path: Path, trick: str, marker: Path
) -> None:
    _refused_by_every_command(copied, archive, tmp_path, trick)
    assert not marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize("trick", _WITH_PROCESSES, indirect=True)
@pytest.mark.filterwarnings("ignore:The `lambda` passed:UserWarning")
def test_no_process_that_scores_falls_for_a_trick_in_a_model_file(
    all_alone: None,
    copied: Path,
    archive: str,
    manifest: str,
    tmp_path: Path,
    trick: str,
    marker: Path,
) -> None:
    bundle, output = str(copied), str(tmp_path / "out")
    training = TrainConfig(
        data=manifest,
        output=str(tmp_path / "trained"),
        init=bundle,
        model="covid-gap",
        epochs=1,
    )
    settings = {"bundle": bundle, "data": archive, "split": "all", "engine": "keras"}
    _refused(
        trick,
        {
            "evaluate": lambda: evaluate(EvaluateConfig(**settings)),
            "predict": lambda: predict(PredictConfig(**settings, output=output)),
            "train --init": lambda: train(training),
        },
    )
    assert not marker.exists()


@pytest.mark.parametrize("trick", ["CVE-2025-9905 HDF5 for a model", "weights outside"])
def test_no_command_falls_for_a_trick_in_hdf5(
    copied: Path, archive: str, tmp_path: Path, trick: str
) -> None:
    file = copied / "model.keras"
    if trick == "weights outside":
        secret = tmp_path / "secret"
        secret.write_bytes(bytes(1 << 20))
        with zipfile.ZipFile(file) as archived:
            parts = {name: archived.read(name) for name in archived.namelist()}
        weights = tmp_path / "weights.h5"
        weights.write_bytes(parts["model.weights.h5"])
        _outside(weights, secret)
        with zipfile.ZipFile(file, "w") as archived:
            for name, data in (parts | {"model.weights.h5": weights.read_bytes()}).items():
                archived.writestr(name, data)
    else:
        with h5py.File(file, "w") as opened:
            opened.attrs["model_config"] = json.dumps({"class_name": "Lambda", "config": {}})
    _sealed(copied)
    _refused_by_every_command(copied, archive, tmp_path, trick)


def test_a_model_that_takes_images_of_200_000_squared_is_refused_before_it_is_built(
    copied: Path, archive: str, tmp_path: Path
) -> None:
    def enlarge(config: dict[str, Any]) -> None:
        layer = config["config"]["layers"][0]["config"]
        layer["batch_shape"] = [None, 200_000, 200_000, 1]

    _rewrite(copied, enlarge)
    with pytest.raises(BundleError, match=r"takes 40000000000 values per image, 268435456 are"):
        bundles.load_model(bundles.read(str(copied)))


def test_weights_that_lie_outside_their_file_are_not_read(tmp_path: Path) -> None:
    keras = models.import_keras()
    backbone = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(96, 96, 3)
    )
    file, secret = tmp_path / "hostile.weights.h5", tmp_path / "secret"
    secret.write_bytes(bytes(1 << 24))
    backbone.save_weights(file)
    _outside(file, secret)
    with pytest.raises(InputError, match=r"does not contain the weights of") as refused:
        models.build("mobilenetv3small", 2, weights=str(file))
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_no_training_is_resumed_from_a_checkpoint_with_pickled_code(
    all_alone: None, manifest: str, tmp_path: Path, marker: Path
) -> None:
    class Code:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    settings = {"data": manifest, "output": str(tmp_path / "trained"), "model": "digits"}
    train(TrainConfig(**settings, epochs=1))
    checkpoint = tmp_path / "trained" / "checkpoints" / "last.npz"
    with np.load(checkpoint) as arrays:
        names = arrays.files
    for hostile in (["state"], names, [*names, "more"]):
        np.savez(checkpoint, **dict.fromkeys(hostile, np.array([Code()], dtype=object)))
        with pytest.raises(TrainingError, match="contains a damaged checkpoint; train again"):
            train(TrainConfig(**settings, epochs=2, resume=True))
    assert not marker.exists()


def _refused_by_every_command(folder: Path, archive: str, tmp_path: Path, trick: str) -> None:
    image = str(next(Path(archive).rglob("*.png")))
    bundle, output = str(folder), str(tmp_path / "out")
    commands: dict[str, Callable[[], Any]] = {
        "explain": lambda: explain(ExplainConfig(bundle=bundle, images=(image,), output=output)),
        "audit": lambda: audit(
            AuditConfig(bundle=bundle, data=archive, split="all", engine="keras")
        ),
        "predict-one": lambda: predict_one(
            PredictOneConfig(bundle=bundle, images=(image,), engine="keras")
        ),
        "quantize": lambda: quantize(QuantizeConfig(bundle=bundle, data=archive, split="all")),
        "bundle verify": lambda: bundle_digests.verify(BundleConfig(bundle=bundle)),
    }
    _refused(trick, commands)


def _refused(trick: str, commands: dict[str, Callable[[], Any]]) -> None:
    for name, command in commands.items():
        with pytest.raises(CnnjobsError) as refused:
            command()
        message = str(refused.value)
        assert "model.keras" in message
        assert "\n" not in message
        # the table of SECURITY.md
        print(f"| {trick} | {name} | {message.partition('model.keras ')[2]} |")  # noqa: T201


def _opened(folder: Path) -> tuple[Bundle | None, str]:
    """The bundle, or why it was refused."""
    try:
        return bundles.read(str(folder)), ""
    except BundleError as error:
        return None, str(error)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict) and path not in (("versions",),):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return changed


def _rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the architecture in the model file, with every hash that goes with it."""
    file = folder / "model.keras"
    with zipfile.ZipFile(file) as archived:
        parts = {name: archived.read(name) for name in archived.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    with zipfile.ZipFile(file, "w") as archived:
        for name, data in (parts | {"config.json": json.dumps(config).encode()}).items():
            archived.writestr(name, data)
    _sealed(folder)


def _sealed(folder: Path) -> None:
    file = folder / "bundle.json"
    digest = bundle_seal.sha256((folder / "model.keras").read_bytes())
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_sha256": digest}))
    shutil.rmtree(folder / "openvino")
    bundle_seal.seal(str(folder))


def _outside(file: Path, secret: Path) -> None:
    """Replace the first weights of an HDF5 file by bytes of another file."""
    with h5py.File(file, "r+") as opened:
        names: list[str] = []
        opened.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        shape = opened[names[0]].shape
        del opened[names[0]]
        size = 4 * int(np.prod(shape))
        opened.create_dataset(names[0], shape, "float32", external=[(str(secret), 0, size)])


def _first_layer(config: dict[str, Any]) -> dict[str, Any]:
    """The first layer after the input."""
    layer: dict[str, Any] = config["config"]["layers"][1]
    return layer


def _replace_layer(config: dict[str, Any], layer: dict[str, Any]) -> None:
    kept = _first_layer(config)
    kept.update({key: layer[key] for key in ("module", "class_name", "config", "registered_name")})
