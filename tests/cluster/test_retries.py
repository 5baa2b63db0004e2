"""`submit --retries`: a job that was killed, or lost its head, is continued."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.dataset
import pytest

from cnnjobs.cluster import node_registry
from cnnjobs.storage import filesystem, json_files, run_lock
from tests.support import archives
from tests.support.heads import Head, running_head
from tests.support.processes import kill, kill_all, title, wait_until

#: Enough for some seconds after the first part.
NUM_IMAGES = 1500


@pytest.fixture(scope="module")
def head(s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with running_head(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def job(tmp_path: Path) -> list[str]:
    """A job of 1500 images, which writes a part after every 50."""
    archives.write_archive(tmp_path / "images", NUM_IMAGES)
    archives.write_bundle(str(tmp_path / "bundle"))
    data = [str(tmp_path / name) for name in ("bundle", "images")]
    return ["predict", *data, "-o", str(tmp_path / "out"), "--rows-per-file", "50"]


@pytest.mark.slow
def test_a_job_whose_process_is_killed_is_continued(
    head: Head, job: list[str], tmp_path: Path
) -> None:
    first, second = _lines(head, job, tmp_path, lambda: kill(_driver(tmp_path)))
    name = first.split()[1]
    assert second == f"{name} failed with exit code 137. Attempt 2 of 2 continues it."


@pytest.mark.slow
def test_a_job_that_lost_its_head_is_continued_on_the_next(
    head: Head, job: list[str], tmp_path: Path
) -> None:
    [node] = json.loads(head.cnnjobs("cluster", "status", "--json").stdout)["nodes"]

    def strike() -> None:
        driver = _driver(tmp_path)
        kill_all(node_registry.session(node["pid"]))
        wait_until(lambda: not title(driver))
        head.start_again()

    first, second = _lines(head, job, tmp_path, strike)
    name = first.split()[1]
    assert second == (
        f"{name} was lost with its head: the cluster at {head.dashboard} has restarted and "
        "does not know it. Attempt 2 of 2 continues it."
    )


@pytest.mark.slow
def test_a_job_with_output_on_s3_is_continued_when_the_lock_of_its_lost_machine_has_lapsed(
    head: Head, job: list[str], tmp_path: Path, s3: str
) -> None:
    output = f"{s3}/out"
    words = [output if word == str(tmp_path / "out") else word for word in job]
    following = head.start_cnnjobs("submit", "--retries", "1", *words)
    predictions = f"{output}/predictions"
    wait_until(lambda: following.poll() is not None or bool(filesystem.names(predictions)))
    kill(_driver(tmp_path))
    # whether a process of another machine has ended cannot be seen from here
    lock = f"{output}/{run_lock.NAME}"
    left = json_files.parsed(filesystem.read_bytes(lock))
    filesystem.write_bytes(lock, json_files.text({**left, "host": "lost"}).encode())

    errors = following.communicate()[1]
    assert following.returncode == 0, errors
    assert "failed with exit code 137. Attempt 2 of 2 continues it." in errors
    rows = json_files.parsed(filesystem.read_bytes(f"{output}/run.json"))["rows"]
    assert 0 < rows["skipped"] < NUM_IMAGES
    assert run_lock.holder(output) is None


@pytest.mark.slow
def test_a_job_that_fails_by_itself_or_is_stopped_is_not_continued(
    head: Head, job: list[str], tmp_path: Path
) -> None:
    failed = head.cnnjobs("submit", "--retries", "3", "predict", "absent", *job[2:])
    assert failed.returncode == 2
    assert failed.stderr.endswith(" failed with exit code 2.\n")

    following = head.start_cnnjobs("submit", "--retries", "3", *job)
    assert following.stderr is not None
    name = following.stderr.readline().split()[1]
    assert head.cnnjobs("jobs", "stop", name).returncode == 0
    assert following.communicate()[1].endswith(f"error: {name} was stopped.\n")
    assert following.returncode == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--no-wait", "predict"], "--retries continues a job from here: leave out --no-wait."),
        (["inspect", "a"], "--retries needs a command with --resume, got inspect."),
    ],
)
def test_retries_that_cannot_be_are_refused(head: Head, words: list[str], message: str) -> None:
    refused = head.cnnjobs("submit", "--retries", "1", *words)
    assert (refused.returncode, refused.stderr) == (2, f"error: {message}\n")


def _lines(head: Head, job: list[str], folder: Path, strike: Callable[[], None]) -> list[str]:
    """What `submit` says of its attempts when the first is struck after some rows.

    Every image is scored once in the end, and not all of them by the second attempt.
    """
    following = head.start_cnnjobs("submit", "--retries", "1", *job)
    _wait_for_a_part(following, folder)
    strike()
    errors = following.communicate()[1]
    assert following.returncode == 0, errors
    rows = json.loads((folder / "out" / "run.json").read_text())["rows"]
    assert 0 < rows["skipped"] < NUM_IMAGES
    paths = pyarrow.dataset.dataset(folder / "out" / "predictions").to_table()["path"]
    assert len(paths) == len(set(paths.to_pylist())) == NUM_IMAGES
    lines = errors.splitlines()
    attempts = [line for line in lines if line.endswith(f" at {head.dashboard}")]
    assert len(attempts) == 2
    return [attempts[0], *(line for line in lines if line.endswith("continues it."))]


def _wait_for_a_part(following: "subprocess.Popen[str]", folder: Path) -> None:
    predictions = folder / "out" / "predictions"
    # a part that is being written has another name
    wait_until(lambda: following.poll() is not None or any(predictions.glob("part-*.parquet")))
    assert following.poll() is None, following.communicate()[1]


def _driver(folder: Path) -> int:
    """The process of the job, whose command line begins so."""
    words = f"python -m cnnjobs predict {folder}/bundle"
    pids = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
    [driver] = [pid for pid in pids if title(pid).startswith(words)]
    return driver
