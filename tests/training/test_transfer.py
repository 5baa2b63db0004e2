"""Starting from an own bundle, with a frozen backbone at first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cnnjobs.config import CrossvalConfig, IndexConfig, TrainConfig
from cnnjobs.data.index import index
from cnnjobs.errors import InputError
from cnnjobs.models import bundle
from cnnjobs.training import crossval_plan
from cnnjobs.training.train import train
from cnnjobs.training.train_plan import plan
from tests.support.trainings import train_here

NORMALIZED = """
from keras import Input, Sequential, layers

def normalized(num_labels):
    return Sequential([
        Input((28, 28, 1), dtype="uint8"),
        layers.Rescaling(1 / 255),
        Sequential([layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()]),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1, activation="sigmoid"),
    ])
"""


def _indexed(folder: Path, labels: Sequence[str], seed: int) -> str:
    """The manifest of 14 noisy images of each class, with splits."""
    random = np.random.default_rng(seed)
    for brightness, label in enumerate(labels):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(14):
            pixels = random.integers(0, 150, (28, 28), np.uint8) + np.uint8(50 * brightness)
            cv2.imwrite(str(folder / "images" / label / f"{number}.png"), pixels)
    manifest = str(folder / "manifest.parquet")
    index(IndexConfig(sources=(str(folder / "images"),), output=manifest, content=True))
    return manifest


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _indexed(tmp_path_factory.mktemp("two"), ["bright", "normal"], 0)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _indexed(tmp_path_factory.mktemp("three"), ["a", "b", "c"], 1)


def _config(data: str, output: Path, **settings: Any) -> TrainConfig:
    common = {"model": "digits", "epochs": 1, "batch_size": 8}
    return TrainConfig(data=data, output=str(output), **{**common, **settings})


@pytest.fixture(scope="module")
def initial(two: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("initial") / "run"
    train_here(_config(two, output))
    return str(output)


def _weights(run: str | Path) -> list[NDArray[np.float32]]:
    weights: list[NDArray[np.float32]] = bundle.load_model(bundle.read(str(run))).get_weights()
    return weights


def _are_equal(these: Sequence[Any], those: Sequence[Any]) -> list[bool]:
    return [np.array_equal(one, other) for one, other in zip(these, those, strict=True)]


def test_a_training_starts_from_all_weights_of_a_bundle_with_the_same_classes(
    two: str, initial: str, tmp_path: Path
) -> None:
    still = {"optimizer": "sgd", "learning_rate": 1e-30}
    train_here(_config(two, tmp_path / "run", init=initial, **still))

    for weight, before in zip(_weights(tmp_path / "run"), _weights(initial), strict=True):
        np.testing.assert_allclose(weight, before, rtol=0, atol=1e-20)


def test_with_other_classes_the_last_layer_is_new_and_a_frozen_backbone_stays_as_it_is(
    three: str, initial: str, tmp_path: Path
) -> None:
    config = _config(three, tmp_path / "run", init=initial, freeze="backbone")

    assert plan(config).warnings == [
        f"the last layer is initialized again: the classes of {initial} are bright (positive), "
        "normal, here a, b, c."
    ]
    train_here(config)

    *backbone, kernel, _ = _weights(tmp_path / "run")
    assert all(_are_equal(backbone, _weights(initial)[:-2]))
    assert kernel.shape == (128, 3)
    seen = bundle.seen_images(bundle.read(str(tmp_path / "run")))
    before = bundle.seen_images(bundle.read(initial))
    assert set(before["path"].to_pylist()) < set(seen["path"].to_pylist())


@pytest.mark.slow
def test_a_frozen_backbone_keeps_its_statistics_until_it_is_unfrozen(
    ray_session: None, two: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(NORMALIZED)
    own = {"model": f"{tmp_path}/own.py:normalized", "positive": "bright"}
    train_here(_config(two, tmp_path / "first", **own))
    transfer = {**own, "init": str(tmp_path / "first"), "freeze": "backbone", "epochs": 2}
    train_here(_config(two, tmp_path / "frozen", **transfer))
    train_here(_config(two, tmp_path / "unfrozen", **transfer, unfreeze_at=2))

    first, frozen, unfrozen = (_weights(tmp_path / run) for run in ("first", "frozen", "unfrozen"))
    # kernel, bias; gamma, beta, mean, variance; kernel, bias of the head
    assert _are_equal(first, frozen) == [True] * 6 + [False] * 2
    # the bias of a convolution before batch normalization has no gradient but rounding
    assert not any(equal for number, equal in enumerate(_are_equal(first, unfrozen)) if number != 1)


@pytest.mark.slow
def test_two_workers_train_what_one_trains_before_and_after_the_unfreezing(
    ray_session: None, two: str, initial: str, tmp_path: Path
) -> None:
    transfer = {"init": initial, "freeze": "backbone", "unfreeze_at": 2, "epochs": 2}
    history = train_here(_config(two, tmp_path / "one", **transfer))
    summary = train(_config(two, tmp_path / "two", **transfer, workers=2))

    assert [epoch["learning_rate"] for epoch in history] == pytest.approx([1e-3, 1e-4])
    assert [epoch["loss"] for epoch in summary.history] == pytest.approx(
        [epoch["loss"] for epoch in history], abs=1e-5
    )
    for one, other in zip(*(_weights(tmp_path / run) for run in ("one", "two")), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"model": "covid"},
            "is a digits, model is covid; train with --model digits, or start from another bundle.",
        ),
        (
            {"crop": 0.1},
            "was trained on other pixels (crop was 0.0, is 0.1); give the same settings, or start "
            "from another bundle.",
        ),
        (
            {"init": None, "freeze": "backbone"},
            "freeze keeps the weights that the backbone starts with, which are random; give --init "
            "or --weights, or leave it out.",
        ),
    ],
)
def test_what_cannot_start_from_the_bundle_is_refused_in_one_line(
    two: str, initial: str, tmp_path: Path, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError) as refused:
        plan(_config(two, tmp_path / "run", **{"init": initial, **settings}))
    assert str(refused.value).endswith(complaint)


def test_images_to_test_on_must_not_have_trained_the_initial_model(
    two: str, initial: str, tmp_path: Path
) -> None:
    config = CrossvalConfig(
        data=two, output=str(tmp_path / "run"), model="digits", init=initial, folds=2
    )
    with pytest.raises(InputError, match="images to test on were used to train"):
        crossval_plan.plan(config)
