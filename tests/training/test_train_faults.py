"""A training that is interrupted ends with the result of an undisturbed one, bit for bit."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cnnjobs.config import IndexConfig, TrainConfig
from cnnjobs.data.index import index
from cnnjobs.errors import CnnjobsError, RunExistsError, TrainingError
from cnnjobs.models import bundle
from cnnjobs.training.distributed import checkpoint_files
from cnnjobs.training.train import TrainSummary, train
from tests.support.cli import run_here
from tests.support.disks import fill
from tests.support.processes import descendants, kill_all, training_workers, wait_until
from tests.support.trainings import epochs_done, train_here

if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)

CNNJOBS = [sys.executable, "-c", "from cnnjobs.cli import main; main()"]
EPOCHS = 4
#: Small: an epoch then has many steps, which leaves time to interrupt it.
BATCH_SIZE = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A manifest of 1,400 images of 28 x 28 in three classes."""
    folder = tmp_path_factory.mktemp("noise")
    random = np.random.default_rng(0)
    for number, label in enumerate(("dark", "grey", "bright")):
        (folder / "images" / label).mkdir(parents=True)
        for image_number in range(467):
            image = random.integers(0, 195, (28, 28)) + 10 * number
            cv2.imwrite(
                str(folder / "images" / label / f"{image_number}.png"), image.astype(np.uint8)
            )
    manifest = folder / "manifest.parquet"
    index(IndexConfig(sources=(str(folder / "images"),), output=str(manifest), content=False))
    return str(manifest)


@pytest.fixture(scope="module")
def undisturbed(
    all_alone: None, data: str, tmp_path_factory: pytest.TempPathFactory
) -> TrainSummary:
    """The result of four epochs without interruption."""
    return train(_config(data, tmp_path_factory.mktemp("runs") / "undisturbed"))


@pytest.mark.slow
def test_one_of_two_workers_killed_in_epoch_2_does_not_end_the_training(
    undisturbed: TrainSummary, data: str, tmp_path: Path
) -> None:
    killer = _Killer(tmp_path / "run")

    summary = train(_config(data, tmp_path / "run", workers=2, epochs=3), killer)

    assert killer.epochs_done == 1
    assert _epochs(summary) == [1, 2, 3]
    losses = [epoch["loss"] for epoch in summary.history]
    # sums over two workers are rounded differently: by 1% after three epochs
    assert losses == pytest.approx([epoch["loss"] for epoch in undisturbed.history[:3]], rel=0.05)


@pytest.mark.slow
def test_a_training_whose_worker_and_then_driver_are_killed_resumes_and_ends_with_the_same_weights(
    undisturbed: TrainSummary, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    _kill_worker_and_driver(data, output)
    assert 2 <= epochs_done(output) < EPOCHS

    summary = train(_config(data, output, resume=True))

    assert _epochs(summary) == [1, 2, 3, 4]
    written = bundle.read(str(output))
    assert written.fingerprint == bundle.read(undisturbed.output).fingerprint
    assert summary.model == written.name
    assert run_here(capsys, *_words(data, output), "--resume") == (
        0,
        f"nothing to do: the run in {output} is finished.\n",
        "",
    )


def test_a_resume_with_other_settings_is_refused_and_names_them(
    undisturbed: TrainSummary, data: str
) -> None:
    with pytest.raises(RunExistsError) as refused:
        train(_config(data, Path(undisturbed.output), batch_size=16, seed=1, resume=True))

    assert str(refused.value) == (
        f"{undisturbed.output} contains a different run (batch_size was 8, is 16; seed was 0, is "
        "1); resume with the same settings, or choose another directory."
    )


def test_a_finished_training_is_not_done_again(undisturbed: TrainSummary, data: str) -> None:
    elsewhere = (str(Path(data).parents[1]),)
    again = train(_config(data, Path(undisturbed.output), resume=True, allowed_root=elsewhere))

    assert again.already_finished
    assert again.model == undisturbed.model


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:100],
        lambda whole: whole[:-1],
        lambda whole: b"text" + whole[4:],
        lambda whole: whole[:5000] + b"\xff" * 5000 + whole[10000:],
    ],
    ids=["empty", "start only", "last byte lost", "other format", "bytes changed"],
)
def test_no_damage_to_a_checkpoint_goes_unnoticed(
    undisturbed: TrainSummary, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    whole = Path(undisturbed.output, "checkpoints", "last.npz").read_bytes()
    (tmp_path / "last.npz").write_bytes(damage(whole))

    with pytest.raises(TrainingError, match=r"contains a damaged checkpoint; train again\.$"):
        checkpoint_files.progress(str(tmp_path))


@pytest.mark.slow
def test_a_full_disk_ends_with_one_line_and_the_last_good_checkpoint(
    all_alone: None, data: str, disk: Path
) -> None:
    output = disk / "run"

    def fill_up(step: str, done: int, total: int | None, note: str = "") -> None:
        # rank 0 writes the checkpoint of an epoch before it reports the epoch
        if note.startswith("epoch 1:"):
            fill(disk / "ballast")

    with pytest.raises(CnnjobsError) as failed:
        train(_config(data, output), fill_up)

    message = str(failed.value)
    assert message.endswith(" cannot be written: No space left on device.")
    assert str(output) in message
    assert failed.value.exit_code in (1, 2)
    good = checkpoint_files.progress(str(output / "checkpoints"))
    assert 1 <= good.epochs_done < EPOCHS
    assert not list(output.rglob("*.partial"))

    (disk / "ballast").unlink()
    history = train_here(_config(data, output, resume=True))
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert bundle.read(str(output)).architecture == "digits"


class _Killer:
    """A progress that kills one training worker with SIGKILL in the second epoch."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self.epochs_done = 0

    def __call__(self, step: str, done: int, total: int | None, note: str = "") -> None:
        # reported once the checkpoint of the first epoch is written
        if note.startswith("epoch 1:") and not self.epochs_done:
            self.epochs_done = epochs_done(self._output)
            os.kill(training_workers(os.getpid())[-1], signal.SIGKILL)


def _config(data: str, output: Path, **settings: Any) -> TrainConfig:
    return TrainConfig(
        data=data,
        output=str(output),
        model="digits",
        **{"epochs": EPOCHS, "batch_size": BATCH_SIZE, **settings},
    )


def _words(data: str, output: Path) -> list[str]:
    sizes = ["--epochs", str(EPOCHS), "--batch-size", str(BATCH_SIZE)]
    return ["train", data, "-o", str(output), "--model", "digits", *sizes]


def _kill_worker_and_driver(data: str, output: Path) -> None:
    """Train on a separate Ray; kill the worker, and after another epoch the driver with its Ray."""
    driver = subprocess.Popen(
        [*CNNJOBS, *_words(data, output)],
        env={**os.environ, "RAY_ADDRESS": "local"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: driver.poll() is not None or epochs_done(output) >= 1)
        (worker,) = training_workers(driver.pid)
        kill_all([worker])
        before = epochs_done(output)
        wait_until(lambda: driver.poll() is not None or epochs_done(output) > before)
        assert driver.poll() is None
        assert training_workers(driver.pid) != [worker]
    finally:
        kill_all([driver.pid, *descendants(driver.pid)])
        driver.wait()


def _epochs(summary: TrainSummary) -> list[float]:
    return [epoch["epoch"] for epoch in summary.history]
