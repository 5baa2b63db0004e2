"""Training in a child process: the weights of Ray's worker, bit for bit, whatever happens to it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnjobs.config import TrainConfig
from cnnjobs.errors import TrainingError
from cnnjobs.models import bundle
from cnnjobs.progress import silent
from cnnjobs.training import trainers
from cnnjobs.training.child_trainer import ChildTrainer
from cnnjobs.training.train import TrainSummary, train
from cnnjobs.training.train_plan import plan, task_of
from tests.support.processes import descendants, kill
from tests.support.without_ray import without_ray

if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)


def config_of(archive: Path, output: Path, **settings: Any) -> TrainConfig:
    common = {"model": "digits", "epochs": 2, "batch_size": 8}
    return TrainConfig(data=str(archive), output=str(output), **{**common, **settings})


@pytest.fixture(scope="module")
def on_ray(
    ray_session: None, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainSummary:
    return train(config_of(archive, tmp_path_factory.mktemp("on ray") / "run"))


def test_the_weights_and_the_history_are_those_of_ray(
    on_ray: TrainSummary, alone: None, archive: Path, tmp_path: Path
) -> None:
    check_same(train(config_of(archive, tmp_path / "run")), on_ray)


@pytest.mark.slow
def test_a_killed_child_goes_on_from_its_checkpoint_and_ends_alike(
    on_ray: TrainSummary, alone: None, archive: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    killing = killing_after("epoch 1:", notes)
    check_same(train(config_of(archive, tmp_path / "run"), killing), on_ray)
    assert sum(note.startswith("epoch 1:") for note in notes) == 1


@pytest.mark.slow
def test_a_child_that_keeps_dying_ends_the_job_with_one_line_and_ray_can_go_on(
    on_ray: TrainSummary, archive: Path, tmp_path: Path
) -> None:
    config = config_of(archive, tmp_path / "run", max_failures=0)
    with without_ray(), pytest.raises(TrainingError) as failed:
        train(config, killing_after("epoch 1:", []))

    assert str(failed.value) == (
        "the training process died; memory may be short: use a smaller batch_size, then continue "
        "with --resume."
    )
    check_same(train(config_of(archive, tmp_path / "run", resume=True)), on_ray)


def test_other_errors_in_the_child_end_the_job_with_one_line(
    alone: None, archive: Path, tmp_path: Path
) -> None:
    planned = plan(config_of(archive, tmp_path / "run", max_failures=0))
    task = task_of(planned, planned.output)
    object.__setattr__(task.config, "optimizer", "none of ours")
    with pytest.raises(TrainingError) as failed:
        ChildTrainer().fit(task, silent, threads=1)
    assert len(str(failed.value).splitlines()) == 1


def test_nothing_of_ray_is_started_or_imported(archive: Path, tmp_path: Path) -> None:
    code = """
import sys
from cnnjobs.config import TrainConfig
from cnnjobs.training.train import train
train(TrainConfig(data=sys.argv[1], output=sys.argv[2], model="digits", epochs=1))
print([name for name in ("ray", "tensorflow", "keras") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, archive, tmp_path / "run"],
        env={**os.environ, "RAY_ADDRESS": "", "RAY_TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"workers": 2}, True),
        ({"gpus_per_worker": 0}, True),
        ({"cache": "stream"}, True),
        ({"cache": "memory"}, False),
        ({"address": "local"}, True),
    ],
)
def test_ray_is_used_where_it_is_asked_for(
    settings: Mapping[str, Any], expected: bool, alone: None, archive: Path, tmp_path: Path
) -> None:
    planned = plan(config_of(archive, tmp_path / "run", **settings))
    assert trainers.needs_ray(planned) is expected


def test_ray_is_used_where_the_decoded_images_are_large(
    alone: None, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(config_of(archive, tmp_path / "run"))
    num_bytes = planned.rows.num_rows * 28 * 28
    monkeypatch.setattr(trainers, "_MAX_BYTES", num_bytes)
    assert not trainers.needs_ray(planned)
    monkeypatch.setattr(trainers, "_MAX_BYTES", num_bytes - 1)
    assert trainers.needs_ray(planned)


def killing_after(start: str, notes: list[str]) -> Callable[..., None]:
    """A progress that kills the child, once, after a note that starts so."""

    def progress(step: str, done: int, total: int | None, note: str = "") -> None:
        notes.append(note)
        if note.startswith(start):
            pids = [pid for pid in descendants(os.getpid()) if is_trainer(pid)]
            assert len(pids) == 1
            kill(pids[0])

    return progress


def is_trainer(pid: int) -> bool:
    return b"cnnjobs.cluster.child" in Path(f"/proc/{pid}/cmdline").read_bytes()


def check_same(one: TrainSummary, other: TrainSummary) -> None:
    """Check that two trainings ended with the same weights, metrics and history."""
    for ours, theirs in zip(*(weights(each) for each in (one, other)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert bundle.read(one.bundle).fingerprint == bundle.read(other.bundle).fingerprint
    assert one.metrics == other.metrics
    assert [measured(epoch) for epoch in one.history] == [
        measured(epoch) for epoch in other.history
    ]


def weights(trained: TrainSummary) -> Sequence[Any]:
    return list(bundle.load_model(bundle.read(trained.bundle)).get_weights())


def measured(epoch: Mapping[str, float]) -> dict[str, float]:
    """An epoch without what depends on the clock or the process."""
    of_process = ("images_per_second", "wait_share", "seconds", "peak_memory_bytes")
    return {name: value for name, value in epoch.items() if name not in of_process}
