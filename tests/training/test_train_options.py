"""The options of a training, some with real Ray Train workers."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnjobs.config import EvaluateConfig, IndexConfig, TrainConfig
from cnnjobs.data.index import index
from cnnjobs.errors import InputError
from cnnjobs.evaluation.evaluate import evaluate
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.models import bundle
from cnnjobs.training.train import TrainSummary, train
from tests.support.trainings import train_here

OWN_MODEL = """
import keras
from keras import layers

def tiny(num_labels):
    return keras.Sequential([
        keras.Input((20, 24, 1), dtype="uint8"),
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, activation="relu"),
        layers.Dropout(0.2),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1 if num_labels == 2 else num_labels, activation="sigmoid"),
    ])
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """37 bright and 26 dark noisy images of 28 x 28: counts that no batch size divides."""
    folder = tmp_path_factory.mktemp("digits")
    random = np.random.default_rng(0)
    for label, number, offset in (("bright", 37, 60), ("dark", 26, 0)):
        (folder / label).mkdir()
        for image_number in range(number):
            image = random.integers(0, 150, (28, 28), dtype=np.uint8) + np.uint8(offset)
            cv2.imwrite(str(folder / label / f"{image_number}.png"), image)
    return folder


def config_of(digits: Path, output: Path, **settings: object) -> TrainConfig:
    common = {"model": "digits", "positive": "bright", "epochs": 1, "batch_size": 8}
    return TrainConfig(data=str(digits), output=str(output), **{**common, **settings})  # type: ignore[arg-type]


def run(digits: Path, output: Path, **settings: object) -> TrainSummary:
    return train(config_of(digits, output, **settings))


@pytest.fixture(scope="module")
def one(
    digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bundle.Bundle, Sequence[Mapping[str, float]]]:
    """The bundle and the history of one process that trains from memory."""
    output = tmp_path_factory.mktemp("one") / "run"
    history = train_here(config_of(digits, output))
    return bundle.read(str(output)), history


@pytest.mark.slow
def test_two_workers_that_stream_train_the_same_model_as_one_from_memory(
    ray_session: None,
    one: tuple[bundle.Bundle, Sequence[Mapping[str, float]]],
    digits: Path,
    tmp_path: Path,
) -> None:
    trained, history = one
    two = run(digits, tmp_path / "two", workers=2, cache="stream")

    weights = [bundle.load_model(each).get_weights() for each in (trained, bundle.read(two.bundle))]
    for alone, shared in zip(*weights, strict=True):
        # Adam's steps are 1e-3 for any gradient: a lost row would change more than rounding does
        np.testing.assert_allclose(shared, alone, atol=2e-4)
    for epoch_alone, epoch_shared in zip(history, two.history, strict=True):
        assert epoch_shared["epoch"] == epoch_alone["epoch"]
        assert epoch_shared["loss"] == pytest.approx(epoch_alone["loss"], abs=1e-5)
        assert epoch_shared["val_auroc"] == pytest.approx(epoch_alone["val_auroc"], abs=1e-3)


def test_threshold_and_temperature_come_from_validation_and_are_applied(
    alone: None,
    one: tuple[bundle.Bundle, Sequence[Mapping[str, float]]],
    digits: Path,
    tmp_path: Path,
) -> None:
    plain, _ = one
    assert (plain.threshold, plain.temperature) == (0.5, 1.0)

    config = config_of(digits, tmp_path / "run", threshold_rule="sensitivity=0.99", calibrate=True)
    train_here(config)

    decided = bundle.read(config.output)
    # the training is too short for confident scores, but 1 is not the best temperature by chance
    assert decided.temperature != 1
    assert decided.metrics["sensitivity"] == 1
    # the same weights, but another model
    assert decided.name != plain.name
    assert decided.metrics["auroc"] == pytest.approx(plain.metrics["auroc"])

    manifest = str(tmp_path / "manifest.parquet")
    index(IndexConfig(sources=(str(digits),), output=manifest))
    test = EvaluateConfig(bundle=decided.uri, data=manifest, audit=False, resamples=0)
    evaluated = evaluate(test)
    before = evaluate(dataclasses.replace(test, bundle=plain.uri))
    assert evaluated.temperature == decided.temperature
    for name in ("brier", "ece"):
        assert evaluated.metrics[f"{name}_uncalibrated"] == pytest.approx(
            before.metrics[name], abs=1e-5
        )
    assert "brier_uncalibrated" not in before.metrics


def test_a_threshold_rule_without_validation_images_is_refused(
    digits: Path, tmp_path: Path
) -> None:
    manifest = str(tmp_path / "manifest.parquet")
    index(IndexConfig(sources=(str(digits),), output=manifest, validation=0.0))
    for settings in ({"threshold_rule": "youden"}, {"calibrate": True}):
        with pytest.raises(InputError) as refused:
            run(Path(manifest), tmp_path / "run", **settings)
        assert str(refused.value) == (
            "threshold_rule and calibrate need validation images of every class, bright has none; "
            "index with --validation above 0."
        )


def test_a_fixed_threshold_needs_no_validation_images(digits: Path, tmp_path: Path) -> None:
    manifest = str(tmp_path / "manifest.parquet")
    index(IndexConfig(sources=(str(digits),), output=manifest, validation=0.0))

    train_here(config_of(Path(manifest), tmp_path / "run", threshold_rule="0.3"))

    assert bundle.read(str(tmp_path / "run")).threshold == 0.3


@pytest.mark.slow
def test_a_user_s_model_trains_with_every_option_at_once(
    ray_session: None, digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN_MODEL)

    summary = run(
        digits,
        tmp_path / "run",
        model=f"{tmp_path / 'own.py'}:tiny",
        epochs=3,
        augment="strong",
        crop=0.1,
        equalize=True,
        balance="source",
        schedule="cosine",
        clip_norm=1.0,
        class_weight="balanced",
        early_stopping=2,
        monitor="val_auroc",
        keep="best",
        threshold_rule="youden",
        calibrate=True,
        mixed_precision=True,
        workers=2,
    )

    from cnnjobs.training.distributed.checkpoints import best_weights

    described = bundle.read(summary.bundle)
    assert described.architecture == "own.py:tiny"
    assert (described.threshold, described.temperature) == (summary.threshold, summary.temperature)
    assert described.threshold != 0.5
    assert described.preprocessing == Preprocessing(
        height=20, width=24, scaled_jpeg=True, crop=0.1, equalize=True
    )
    assert summary.warnings == [
        f"balance source changes nothing: all images are from source {digits.name}."
    ]
    assert bundle.load_model(described).input_shape == (None, 20, 24, 1)
    # the bundle contains the best epoch, in float32
    weights = bundle.load_model(described).get_weights()
    best = best_weights(str(tmp_path / "run" / "checkpoints"))
    for kept, expected in zip(weights, best, strict=True):
        assert kept.dtype == np.float32
        np.testing.assert_array_equal(kept, expected)
    rates = [epoch["learning_rate"] for epoch in summary.history]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0]
    for name in ("loss", "learning_rate", "gradient_norm", "images_per_second", "wait_share"):
        shown = _shown_by_tensorboard(tmp_path / "run" / "tensorboard", f"epoch_{name}")
        assert shown == pytest.approx([epoch[name] for epoch in summary.history], rel=1e-6)


def _shown_by_tensorboard(folder: Path, tag: str) -> list[float]:
    """A value of each epoch, read back by TensorBoard itself."""
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "train"))
    events.Reload()
    return [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]


def test_a_user_s_model_without_probabilities_fails_with_one_line(
    alone: None, digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN_MODEL.replace("1 if num_labels == 2 else num_labels", "7"))

    with pytest.raises(InputError, match=r"^own.py:tiny must return \(N, 1\) for 2 labels, got"):
        run(digits, tmp_path / "run", model=f"{tmp_path / 'own.py'}:tiny")

    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
