"""The int8 network of a bundle: nearly the same scores, under a name of its own."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc
import pytest

from cnnjobs.cli.quantize import quantize_text
from cnnjobs.config import IndexConfig, PredictConfig, QuantizeConfig, TrainConfig
from cnnjobs.data import manifest
from cnnjobs.data.index import index
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import AccuracyError, BundleError, ConfigError, InputError
from cnnjobs.evaluation.quantize import QuantizeSummary, plan, quantize
from cnnjobs.inference import predict
from cnnjobs.inference.prediction_table import read_predictions
from cnnjobs.inference.predictor import open_engine
from cnnjobs.models import bundle as bundles
from cnnjobs.models import openvino_export
from cnnjobs.models.engines import OpenVinoEngine
from cnnjobs.models.openvino_import import import_openvino
from tests.support.bundles import write_bundle
from tests.support.trainings import train_here

pytest.importorskip("nncf", reason="the extra quantize is not installed")


@pytest.fixture(scope="module")
def folder(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of its own, since the int8 network is written into it, with its manifest."""
    folder = tmp_path_factory.mktemp("quantized")
    (folder / "manifest.parquet").write_bytes((untrained / "manifest.parquet").read_bytes())
    images = manifest.read(str(folder / "manifest.parquet"))
    write_bundle(folder / "bundle", "covid-gap", seen=images)
    return folder


@pytest.fixture(scope="module")
def summary(folder: Path) -> QuantizeSummary:
    return quantize(_config(folder))


def _config(folder: Path, **settings: object) -> QuantizeConfig:
    return QuantizeConfig(
        bundle=str(folder / "bundle"),
        data=str(folder / "manifest.parquet"),
        **{"calibration_images": 8, "max_auroc_drop": 1.0, "resamples": 100, **settings},
    )


def test_the_two_networks_are_compared_on_the_test_split(folder, summary):
    images = manifest.read(str(folder / "manifest.parquet")).select("test")
    assert summary.num_images == images.num_rows - images["error"].to_pylist().count(not None)
    assert 0 < summary.largest_change < 0.1
    assert set(summary.fp32) == set(summary.int8) >= {"auroc", "sensitivity", "brier"}
    assert "score with --precision int8" in quantize_text(summary)


def test_the_int8_network_scores_nearly_as_the_float32_network(folder, summary):
    fp32 = bundles.read(str(folder / "bundle"))
    int8 = openvino_export.at_precision(fp32, "int8")
    noise = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 1), np.uint8)
    before, after = (
        open_engine(each, "openvino", batch_size=4, threads=1).scores(noise)
        for each in (fp32, int8)
    )
    assert 0 < np.abs(after - before).max() < 0.1
    network, _ = openvino_export.read(int8)
    assert network.count(b'type="FakeQuantize"') >= 3


def test_the_name_of_the_model_says_which_network(folder, summary):
    fp32 = bundles.read(str(folder / "bundle"))
    int8 = openvino_export.at_precision(fp32, "int8")
    assert summary.model == int8.name
    assert int8.name.startswith(f"{fp32.name}-int8-")
    assert openvino_export.at_precision(fp32, "bf16").name == f"{fp32.name}-bf16"
    # the float32 export is as it was
    assert openvino_export.find(fp32).refused is None


def test_predict_scores_with_the_int8_network(folder, summary, alone, tmp_path):
    settings = {"bundle": str(folder / "bundle"), "data": str(folder / "manifest.parquet")}
    for precision in ("fp32", "int8"):
        output = str(tmp_path / precision)
        predict.predict(PredictConfig(**settings, output=output, precision=precision))
    fp32, int8 = (
        read_predictions(str(tmp_path / precision)).to_pylist() for precision in ("fp32", "int8")
    )
    assert {row["model"] for row in int8} == {summary.model}
    assert {row["model"] for row in fp32} == {bundles.read(settings["bundle"]).name}
    changes = [
        abs(one["probability"] - other["probability"])
        for one, other in zip(fp32, int8, strict=True)
        if one["error"] is None
    ]
    assert 0 < max(changes) < 0.1
    # a run goes on with the network that it began with
    with pytest.raises(InputError, match="int8"):
        predict.plan(PredictConfig(**settings, output=str(tmp_path / "int8"), resume=True))


def test_a_network_that_loses_too_much_is_refused(folder, summary, monkeypatch):
    before = openvino_export.find(dataclasses.replace(bundles.read(summary.bundle), variant="int8"))
    monkeypatch.setattr("cnnjobs.evaluation.quantize._drop", lambda *_: 0.02)
    with pytest.raises(AccuracyError) as refused:
        quantize(_config(folder, max_auroc_drop=0.01))
    assert str(refused.value) == (
        "the int8 network's AUROC is 0.0200 lower on split test, but max_auroc_drop allows 0.01; "
        "nothing was written. Allow more, or score with --precision fp32."
    )
    after = openvino_export.find(dataclasses.replace(bundles.read(summary.bundle), variant="int8"))
    assert after == before


#: One range of integers for both channels of its convolution leaves nothing of the one that counts.
UNEVEN = """
import numpy as np
from keras import Input, Sequential, layers

def uneven(num_labels):
    model = Sequential([
        Input((12, 12, 1), dtype="uint8"),
        layers.Rescaling(1 / 255),
        layers.Conv2D(2, 1, activation="relu"),
        layers.Flatten(),
        layers.Dense(1, activation="sigmoid"),
    ])
    model.layers[1].set_weights([np.array([[[[4000.0, 1.0]]]]), np.zeros(2)])
    counts = np.tile([0.0, 0.2], 144)[:, None]
    model.layers[3].set_weights([counts, np.full(1, -counts.sum() * 0.5)])
    return model
"""


@pytest.mark.slow
def test_layers_that_lose_too_much_stay_in_float32(tmp_path):
    (tmp_path / "own.py").write_text(UNEVEN)
    random = np.random.default_rng(0)
    for number in range(120):
        label, shift = (("dark", 0), ("bright", 12))[number % 2]
        image = random.integers(100, 140, (12, 12)) + shift
        (tmp_path / "images" / label).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(f"{tmp_path}/images/{label}/{number}.png", image.astype(np.uint8))
    data = str(tmp_path / "manifest.parquet")
    index(IndexConfig(sources=(str(tmp_path / "images"),), output=data))
    train_here(
        TrainConfig(
            data=data,
            output=str(tmp_path / "run"),
            model=f"{tmp_path / 'own.py'}:uneven",
            positive="bright",
            epochs=1,
            learning_rate=1e-12,
        )
    )

    bundle, settings = str(tmp_path / "run"), {"calibration_images": 64, "max_auroc_drop": 0.02}
    summary = quantize(dataclasses.replace(_config(tmp_path, **settings), bundle=bundle))

    assert summary.fp32["auroc"] > 0.95
    assert summary.accuracy_control
    assert summary.int8["auroc"] >= summary.fp32["auroc"] - 0.02
    assert "some layers stay in float32" in quantize_text(summary)


def test_a_bundle_without_an_int8_network_says_how_to_make_one(untrained, tmp_path):
    bundle = str(untrained / "bundle")
    config = PredictConfig(
        bundle=bundle, data=str(untrained / "manifest.parquet"), output=str(tmp_path / "run"),
        precision="int8",
    )  # fmt: skip
    with pytest.raises(BundleError) as refused:
        predict.plan(config)
    assert str(refused.value) == (
        f"{bundle} has no int8 network; make one with cnnjobs quantize, or score with "
        "--precision fp32."
    )


def test_a_changed_int8_network_is_refused(folder, summary, tmp_path):
    copied = tmp_path / "bundle"
    for file in Path(summary.bundle).rglob("*"):
        if file.is_file():
            target = copied / file.relative_to(summary.bundle)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    weights = copied / "openvino-int8" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(
        BundleError, match=r"openvino-int8/model\.bin is not the file that was seal"
    ):
        bundles.read(str(copied))
    (copied / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match="make it again with cnnjobs quantize"):
        openvino_export.read(openvino_export.at_precision(bundles.read(str(copied)), "int8"))


def test_precision_needs_the_engine_that_has_it():
    with pytest.raises(ConfigError, match="precision int8 needs the engine openvino, got keras"):
        PredictConfig(bundle="b", data="d", output="o", precision="int8", engine="keras")


def test_bfloat16_needs_a_processor_that_has_it(folder):
    files = openvino_export.read(bundles.read(str(folder / "bundle")))
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" in capabilities:
        engine = OpenVinoEngine(*files, batch_size=1, threads=1, precision="bf16")
        assert engine.scores(np.zeros((1, 256, 256, 1), np.uint8)).shape == (1, 1)
    else:
        with pytest.raises(InputError, match="no bfloat16 arithmetic; use --precision"):
            OpenVinoEngine(*files, batch_size=1, threads=1, precision="bf16")


def test_data_without_a_training_split_are_refused(folder, tmp_path):
    images = manifest.read(str(folder / "manifest.parquet"))
    of_test = images.table.filter(pc.equal(images.table["split"], "test"))
    manifest.write(Manifest(of_test, images.settings), str(tmp_path / "manifest.parquet"))
    config = dataclasses.replace(_config(folder), data=str(tmp_path / "manifest.parquet"))
    with pytest.raises(InputError, match="has no images in split train"):
        plan(config)
