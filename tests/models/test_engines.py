"""Scoring engines: all give the same probabilities, in any batch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnjobs import models
from cnnjobs.errors import BundleError
from cnnjobs.inference.predictor import open_engine
from cnnjobs.models import bundle as bundles
from cnnjobs.models import engines, openvino_export
from cnnjobs.models.bundle import Bundle
from cnnjobs.models.engines import OpenVinoEngine
from cnnjobs.models.mixed_precision import in_mixed_precision
from tests.support.bundles import write_bundle

#: Two orders of summing may differ by this much: a float32 has 24 bits.
CLOSE = 1e-5


@pytest.fixture(scope="module")
def covid(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "covid", "covid-gap")


@pytest.fixture(scope="module")
def noise(covid: Bundle) -> np.ndarray:
    shape = (37, covid.preprocessing.height, covid.preprocessing.width, 1)
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def test_all_engines_agree_with_keras_own_prediction(covid: Bundle, noise: np.ndarray) -> None:
    expected = bundles.load_model(covid).predict_on_batch(noise)

    for name in ("openvino", "keras"):
        scores = open_engine(covid, name, batch_size=16, threads=2).scores(noise)
        assert scores.shape == expected.shape == (37, 1)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, rtol=0, atol=CLOSE)


def test_engines_agree_on_many_classes(tmp_path_factory: pytest.TempPathFactory) -> None:
    digits = write_bundle(tmp_path_factory.mktemp("bundle") / "digits", "digits")
    images = np.random.default_rng(1).integers(0, 256, (9, 28, 28, 1), np.uint8)
    expected = bundles.load_model(digits).predict_on_batch(images)

    for name in ("openvino", "keras"):
        scores = open_engine(digits, name, batch_size=4, threads=1).scores(images)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("name", ["openvino", "keras"])
def test_a_score_does_not_depend_on_the_batch_or_the_position_in_it(
    covid: Bundle, noise: np.ndarray, name: str
) -> None:
    engine = open_engine(covid, name, batch_size=16, threads=2)
    whole = engine.scores(noise)

    np.testing.assert_array_equal(engine.scores(noise[::-1])[::-1], whole)
    np.testing.assert_array_equal(engine.scores(noise[5:6]), whole[5:6])


@pytest.mark.parametrize("batch_size", [8, 24, 32])
def test_a_score_does_not_depend_on_the_number_of_threads(
    covid: Bundle, noise: np.ndarray, batch_size: int
) -> None:
    one, *others = (
        open_engine(covid, "openvino", batch_size=batch_size, threads=threads).scores(noise)
        for threads in (1, 2, 3, 4)
    )
    for scores in others:
        np.testing.assert_array_equal(scores, one)


@pytest.mark.parametrize(
    ("parts", "threads", "expected"),
    [(1, 1, 1), (1, 8, 1), (2, 1, 1), (2, 2, 2), (2, 3, 1), (4, 4, 4), (4, 6, 3), (8, 4, 4)],
)
def test_as_many_parts_are_scored_at_once_as_keep_all_threads_busy(
    parts: int, threads: int, expected: int
) -> None:
    assert engines.num_at_once(parts, threads) == expected


def test_scores_do_not_change_when_the_next_batch_is_scored(
    covid: Bundle, noise: np.ndarray
) -> None:
    engine = open_engine(covid, "openvino", batch_size=8, threads=1)
    first = engine.scores(noise[:8])
    kept = first.copy()
    engine.scores(noise[8:16])

    np.testing.assert_array_equal(first, kept)


def test_openvino_scores_without_tensorflow_in_the_process(covid: Bundle) -> None:
    code = f"""
import sys
import numpy as np
from cnnjobs.models import bundle
from cnnjobs.inference.predictor import open_engine
engine = open_engine(bundle.read({covid.uri!r}), "openvino", batch_size=2, threads=1)
engine.scores(np.zeros((2, 256, 256, 1), np.uint8))
print([name for name in ("tensorflow", "keras", "ray") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_openvino_sends_no_telemetry_when_it_is_imported(covid: Bundle, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("CI", None)
    code = f"""
from cnnjobs.inference.predictor import open_engine
from cnnjobs.models import bundle
open_engine(bundle.read({covid.uri!r}), "openvino", batch_size=2, threads=1)
"""
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    # it keeps the user's id and consent in the home directory before it sends anything
    assert not list(tmp_path.iterdir())


def test_mixed_precision_computes_in_16_bits_and_scores_nearly_the_same(covid: Bundle) -> None:
    model = bundles.load_model(covid)
    mixed = in_mixed_precision(model)
    images = np.random.default_rng(2).integers(0, 256, (4, 256, 256, 1), np.uint8)
    policies = {layer.name: layer.dtype_policy.compute_dtype for layer in mixed.layers}

    assert policies["conv_2"] == policies["hidden"] == "float16"
    assert policies["scale"] == policies["probability"] == "float32"
    np.testing.assert_allclose(
        mixed.predict_on_batch(images), model.predict_on_batch(images), rtol=0, atol=5e-3
    )


def test_an_export_belongs_to_a_single_model(covid: Bundle, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", "covid-gap", seed=1)
    assert openvino_export.find(other) is not None
    description = Path(covid.uri, "openvino", "export.json")
    (tmp_path / "other" / "openvino" / "export.json").write_bytes(description.read_bytes())

    assert openvino_export.find(other) is None
    with pytest.raises(BundleError, match=r"has no OpenVINO export \(it was never made\); use"):
        openvino_export.read(other)


def test_a_changed_export_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", "digits")
    weights = tmp_path / "bundle" / "openvino" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    with pytest.raises(BundleError) as refused:
        openvino_export.read(bundle)
    assert str(refused.value) == (
        f"{weights} has changed since the bundle was opened; start again."
    )


def test_a_model_that_scores_differently_in_openvino_has_no_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no difference is below 0
    monkeypatch.setattr(openvino_export, "TOLERANCE", -1.0)
    bundle = write_bundle(tmp_path / "bundle", "digits")

    export = openvino_export.find(bundle)
    assert export is not None
    assert export.refused is not None
    assert export.refused.startswith("its scores differ by ")
    with pytest.raises(BundleError, match="use --engine keras or auto"):
        open_engine(bundle, "openvino", batch_size=1, threads=1)


def test_the_reason_for_no_export_names_the_unsupported_operation(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", "digits")
    keras = models.import_keras()
    import tensorflow as tf

    class InPython(keras.layers.Layer):
        def call(self, images):
            mean = tf.py_function(lambda a: tf.reduce_mean(a, (1, 2)), [images], tf.uint8)
            return tf.ensure_shape(mean, (None, 1))

        def compute_output_spec(self, images):
            return keras.KerasTensor((None, 1), "uint8")

    inputs = keras.Input((28, 28, 1), dtype="uint8")
    export = openvino_export.write(bundle, keras.Model(inputs, InPython()(inputs)))

    assert export.refused == (
        "OpenVINO does not support it: No conversion rule found for operations: EagerPyFunc"
    )
    assert openvino_export.find(bundle) == export


def test_a_network_that_openvino_converts_but_cannot_compute_is_no_export(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", "digits")
    keras = models.import_keras()
    pixels = keras.Input((28, 28, 1), dtype="uint8")
    # OpenVINO 2026.4 gives the cast of uint8 to bfloat16 no type that its CPU plugin knows
    scaled = keras.layers.Rescaling(1 / 255, dtype="mixed_bfloat16")(pixels)
    scores = keras.layers.Dense(1, "sigmoid", dtype="float32")(keras.layers.Flatten()(scaled))

    export = openvino_export.write(bundle, keras.Model(pixels, scores))

    assert export.refused is not None
    assert export.refused.startswith(
        "OpenVINO does not support it: Unsupported operation of type: Convert"
    )
    assert open_engine(bundle, "auto", batch_size=1, threads=1).scores(
        np.zeros((1, 28, 28, 1), np.uint8)
    ).shape == (1, 10)


def test_an_export_has_a_dynamic_batch_dimension(covid: Bundle) -> None:
    network, weights = openvino_export.read(covid)

    for size in (1, 3):
        engine = OpenVinoEngine(network, weights, batch_size=size, threads=1)
        assert engine.scores(np.zeros((7, 256, 256, 1), np.uint8)).shape == (7, 1)


def test_an_export_sends_no_telemetry(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tests.support.bundles import write_bundle
write_bundle(Path({str(tmp_path / "bundle")!r}), "digits")
"""
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    environment.pop("CI", None)
    (tmp_path / "home").mkdir()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)

    # OpenVINO's telemetry keeps its user id and consent in the home directory
    assert not list((tmp_path / "home").rglob("*telemetry*"))
