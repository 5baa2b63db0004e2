"""More epochs on a run that has finished, on a real Ray; fewer are refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnjobs.config import TrainConfig
from cnnjobs.errors import InputError
from cnnjobs.models import bundle
from cnnjobs.training.train import train
from tests.support.trainings import train_here


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 noisy images of 28 x 28, half of them brighter."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(24):
        label = ("bright", "normal")[number % 2]
        (folder / label).mkdir(exist_ok=True)
        pixels = random.integers(0, 200, (28, 28), np.uint8) + np.uint8(20 * (label == "bright"))
        cv2.imwrite(str(folder / label / f"{number}.png"), pixels)
    return folder


def _config(images: Path, output: Path, epochs: int, **more: object) -> TrainConfig:
    settings = {"model": "digits", "batch_size": 8, **more}
    return TrainConfig(data=str(images), output=str(output), epochs=epochs, **settings)


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_epochs_and_refuses_fewer(
    ray_session: None, images: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    assert train(_config(images, output, 1)).epochs == 1
    first = bundle.read(str(output))

    more = train(_config(images, output, 3, resume=True))

    assert [epoch["epoch"] for epoch in more.history] == [1, 2, 3]
    record = json.loads((output / "run.json").read_text())
    assert (record["config"]["epochs"], record["status"]) == (3, "done")
    train_here(_config(images, tmp_path / "whole", 3))
    weights = [
        bundle.load_model(bundle.read(str(run))).get_weights()
        for run in (output, tmp_path / "whole")
    ]
    for resumed, whole in zip(*weights, strict=True):
        np.testing.assert_allclose(resumed, whole, atol=1e-5)
    assert bundle.read(str(output)).fingerprint != first.fingerprint

    with pytest.raises(InputError) as refused:
        train(_config(images, output, 2, resume=True))
    assert str(refused.value) == (
        f"epochs must be at least 3, as in the run in {output}, got 2; a run can be continued with "
        "more epochs, not with fewer."
    )
    assert train(_config(images, output, 3, resume=True)).already_finished


@pytest.mark.slow
def test_a_run_that_stopped_early_is_not_continued_and_a_warning_says_so(
    ray_session: None, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"early_stopping": 1, "learning_rate": 1e-30, "optimizer": "sgd"}
    output = tmp_path / "run"
    assert train(_config(images, output, 4, **settings)).epochs == 2
    finished = (output / "run.json").read_bytes()

    again = train(_config(images, output, 9, **settings, resume=True))

    assert again.already_finished
    assert again.epochs == 2
    assert "stopped early, after epoch 2, and is not continued" in caplog.text
    assert (output / "run.json").read_bytes() == finished
