"""A training that its deadline stops in order, and `--resume` ends, is as one that went on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cnnjobs.models import bundle
from tests.support.heads import cnnjobs
from tests.training import killed

#: Enough for some seconds of epochs after some seconds of preparations.
_EPOCHS = 150


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return killed.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    return _trained(data, folder / "run", **_without_ray(folder))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("where", ["child", pytest.param("Ray", marks=pytest.mark.table)])
def test_a_deadline_and_a_resume_leave_the_model_of_an_uninterrupted_training(
    data: Path,
    tmp_path: Path,
    uninterrupted: Mapping[str, Any],
    where: str,
) -> None:
    flags = ["--address", "local"] if where == "Ray" else []
    environment = {"RAY_ADDRESS": ""} if where == "Ray" else _without_ray(tmp_path)
    _stop_by_deadline(data, tmp_path / "run", *flags, **environment)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "stopped"
    assert not (tmp_path / "run" / "_SUCCESS").exists()

    resumed = _trained(data, tmp_path / "run", "--resume", *flags, **environment)
    assert resumed["history"] == uninterrupted["history"]
    assert resumed["metrics"] == uninterrupted["metrics"]
    digests = {bundle.read(each["bundle"]).fingerprint for each in (resumed, uninterrupted)}
    assert len(digests) == 1


def _stop_by_deadline(data: Path, output: Path, *flags: str, **environment: str) -> None:
    """Train until a deadline after the first checkpoint and before the last epoch."""
    seconds = 14.0
    for _ in range(8):
        limit = ["--overwrite", "--deadline", f"{seconds:.1f}s"]
        done = cnnjobs(*_words(data, output), *flags, *limit, **environment)
        if done.returncode == 124 and (output / "checkpoints" / "last.npz").exists():
            assert done.stderr.endswith(
                f"stopped after {seconds:.1f}s (--deadline); continue with --resume\n"
            )
            return
        assert done.returncode in (0, 124), done.stderr
        # it came too early or too late on this machine
        seconds *= 1.5 if done.returncode == 124 else 0.6
    raise AssertionError("no deadline came in the middle")


def _trained(data: Path, output: Path, *flags: str, **environment: str) -> dict[str, Any]:
    """The summary of a training that ended, without what depends on the clock."""
    done = cnnjobs(*_words(data, output), *flags, "--json", **environment)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    for epoch in summary["history"]:
        for name in killed.TIMES:
            epoch.pop(name, None)
    return summary


def _words(data: Path, output: Path) -> list[str]:
    words = ["train", str(data), "-o", str(output), "--model", "digits", "--positive", "bright"]
    return [*words, "--batch-size", "4", "--epochs", str(_EPOCHS)]


def _without_ray(folder: Path) -> dict[str, str]:
    """An environment in which no Ray is found."""
    return {"RAY_ADDRESS": "", "RAY_TMPDIR": str(folder)}
