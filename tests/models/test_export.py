"""Exported models: their scores, and what their files say."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnjobs import models
from cnnjobs.cli import main
from cnnjobs.config import ExportConfig
from cnnjobs.errors import BundleError, ConfigError, InputError
from cnnjobs.metrics import calibration
from cnnjobs.models import bundle as bundles
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.engines import OpenVinoEngine
from cnnjobs.models.export import export, plan
from cnnjobs.models.openvino_import import import_openvino
from tests.support.bundles import resealed, write_bundle

IMAGES = np.random.default_rng(1).integers(0, 200, (3, 28, 28, 1), np.uint8)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of ten classes with a temperature."""
    folder = tmp_path_factory.mktemp("digits")
    write_bundle(folder / "bundle", "digits")
    description = folder / "bundle" / "bundle.json"
    content = json.loads(description.read_text())
    description.write_text(json.dumps({**content, "temperature": 2.5}))
    return resealed(folder / "bundle")


def _onnx(path: Path) -> tuple[Any, str]:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    session = onnxruntime.InferenceSession(path)
    scores = session.run(None, {session.get_inputs()[0].name: IMAGES})[0]
    return scores, session.get_modelmeta().custom_metadata_map["cnnjobs"]


def _openvino(path: Path) -> tuple[Any, str]:
    network = import_openvino().Core().read_model(path)
    files = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    scores = OpenVinoEngine(*files, batch_size=3, threads=1).scores(IMAGES)
    return scores, network.get_rt_info("cnnjobs").astype(str)


def _saved_model(path: Path) -> tuple[Any, str]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return loaded.serve(IMAGES), (path / "assets.extra" / "cnnjobs.json").read_text()


def _keras(path: Path) -> tuple[Any, str]:
    model = models.import_keras().saving.load_model(path)
    return model.predict_on_batch(IMAGES), zipfile.ZipFile(path).read("cnnjobs.json").decode()


@pytest.mark.parametrize(
    ("kind", "name", "opened"),
    [
        ("onnx", "model.onnx", _onnx),
        ("openvino", "model.xml", _openvino),
        ("saved-model", "model", _saved_model),
        ("keras", "model.keras", _keras),
    ],
)
def test_an_exported_model_has_the_bundles_scores_and_its_preprocessing(
    digits: Bundle, tmp_path: Path, kind: str, name: str, opened: Any
) -> None:
    if kind == "onnx":
        pytest.importorskip("tf2onnx", reason="needs the extra onnx")
    output = tmp_path / name
    summary = export(ExportConfig(bundle=digits.uri, output=str(output), format=kind))
    assert summary.difference < 1e-5
    assert summary.size_bytes > 100_000
    scores, metadata = opened(output)
    raw = np.asarray(bundles.load_model(digits).predict_on_batch(IMAGES))
    expected = calibration.scaled(raw, 2.5)
    # the temperature matters here
    assert np.abs(raw - expected).max() > 1e-3
    assert np.abs(np.asarray(scores) - expected).max() < 1e-5
    described = json.loads(metadata)
    assert described["preprocessing"] == dataclasses.asdict(digits.preprocessing)
    assert (described["labels"], described["positive"]) == (list("0123456789"), None)
    # of the sealed bundle, which an export leaves as it is
    now = bundles.read(digits.uri, expect=[described["bundle_digest"]])
    assert now.is_sealed
    assert (described["bundle_digest"], described["model_digest"]) == (
        digits.digest,
        digits.model_digest,
    )
    with pytest.raises(InputError) as refused:
        plan(ExportConfig(bundle=digits.uri, output=str(output), format=kind))
    assert str(refused.value) == f"{output} already exists; choose another name."


def test_a_model_of_two_classes_is_exported_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_bundle(tmp_path / "bundle", "covid-gap")
    output = tmp_path / "model.xml"
    with pytest.raises(SystemExit, match="0"):
        main(["export", bundle.uri, "-o", str(output), "--format", "openvino", "-q"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"{bundle.name} as openvino; largest difference of a probability: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "model.bin", "model.xml"]


def test_an_export_into_the_bundle_or_of_another_is_refused(digits: Bundle) -> None:
    inside = f"{digits.uri}/model.onnx"
    with pytest.raises(InputError) as refused:
        plan(ExportConfig(bundle=digits.uri, output=inside, format="onnx"))
    assert str(refused.value) == (
        f"the output {inside} is inside the input {digits.uri}; choose another output."
    )
    other = f"sha256:{'0' * 64}"
    with pytest.raises(BundleError, match=f"expected {other}"):
        plan(ExportConfig(bundle=digits.uri, output="/tmp/model.onnx", expect=(other,)))


def test_weights_of_another_network_are_not_replaced(digits: Bundle, tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    output = str(tmp_path / "model.xml")
    with pytest.raises(InputError) as refused:
        plan(ExportConfig(bundle=digits.uri, output=output, format="openvino"))
    assert str(refused.value) == f"{tmp_path}/model.bin already exists; choose another name."


def test_a_wrong_suffix_or_format_is_refused(digits: Bundle) -> None:
    with pytest.raises(InputError) as refused:
        plan(ExportConfig(bundle=digits.uri, output="/tmp/model.pb", format="keras"))
    assert str(refused.value) == ("a file in format keras must end in .keras, got /tmp/model.pb.")
    with pytest.raises(ConfigError) as unknown:
        ExportConfig(bundle="b", output="o", format="pb")
    assert str(unknown.value) == (
        "format must be one of onnx, openvino, saved-model, keras, got pb."
    )
