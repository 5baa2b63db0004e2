"""Jobs that are stopped, killed or out of disk space end with the rows of a quiet run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from cnnjobs.errors import StorageError
from cnnjobs.inference.predict import predict
from tests.support.disks import fill
from tests.support.disturbed_runs import (
    ALONE,
    NUM_IMAGES,
    OWN_RAY,
    ROWS_PER_FILE,
    check_complete,
    count_parts,
    read_record,
    read_rows,
    resume,
    run_config,
    start_job,
    wait_for_parts,
)
from tests.support.paths import ROOT
from tests.support.processes import descendants, title, wait_until, with_variable

if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)

DEADLINE = " after 1h (--deadline)"


@pytest.mark.slow
def test_a_driver_killed_and_resumed_five_times_loses_and_duplicates_nothing(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path, ray_address: str
) -> None:
    output = tmp_path / "run"
    moments = random.Random(7)
    # with a Ray of its own, which is killed with it; with another, which stays; without any
    for address in (OWN_RAY, ALONE, ray_address, ALONE, ray_address):
        num_parts = count_parts(output) + moments.randint(0, 3)
        with start_job(inputs, output, "--resume", address=address) as driver:
            wait_for_parts(driver, output, num_parts)
            time.sleep(moments.uniform(0, 0.2))
            assert driver.poll() is None
        assert driver.returncode == -signal.SIGKILL
        assert not (output / "_SUCCESS").exists()

    num_kept = read_rows(output, in_parts=True).num_rows
    assert 0 < num_kept < NUM_IMAGES
    assert resume(inputs, output).skipped == num_kept
    check_complete(output, undisturbed)


@pytest.mark.parametrize(
    ("number", "code", "note", "where"),
    [
        pytest.param(signal.SIGTERM, 143, "", "Ray", marks=pytest.mark.slow),
        (signal.SIGTERM, 143, "", "child"),
        (signal.SIGINT, 130, "", "Ray"),
        (signal.SIGINT, 130, "", "child"),
        # sent by its own timer
        pytest.param(signal.SIGALRM, 124, DEADLINE, "Ray", marks=pytest.mark.slow),
        (signal.SIGALRM, 124, DEADLINE, "child"),
    ],
)
def test_a_stopped_driver_writes_the_rows_scored_so_far_and_says_how_to_continue(
    undisturbed: pa.Table,
    inputs: Path,
    tmp_path: Path,
    ray_address: str,
    number: signal.Signals,
    code: int,
    note: str,
    where: str,
) -> None:
    output = tmp_path / "run"
    address = OWN_RAY if number == signal.SIGINT else ray_address
    if where == "child":
        address = ALONE
    # quiet: on a busy machine there would be a line of progress
    flags = ["--quiet", *(["--deadline", "1h"] if number == signal.SIGALRM else [])]
    with start_job(inputs, output, *flags, address=address, rows_per_file=NUM_IMAGES) as driver:
        # its first line appears with the first rows, which are not enough for a part yet
        wait_until(lambda: driver.poll() is not None or (output / "progress.jsonl").exists())
        # Ctrl-C reaches every process of the terminal
        os.killpg(driver.pid, number) if number == signal.SIGINT else driver.send_signal(number)
        _, errors = driver.communicate()

    assert (driver.returncode, errors) == (code, f"stopped{note}; continue with --resume\n")
    assert read_record(output)["status"] == "stopped"
    assert [path.name for path in (output / "predictions").iterdir()] == ["part-00000.parquet"]
    num_kept = read_rows(output, in_parts=True).num_rows
    assert 0 < num_kept < NUM_IMAGES

    assert resume(inputs, output, rows_per_file=NUM_IMAGES).skipped == num_kept
    check_complete(output, undisturbed)


#: Two jobs, each interrupted by its own process when the first rows arrive.
_INTERRUPTED = """
import sys
from cnnjobs.config import PredictConfig
from cnnjobs.inference.predict import predict

def interrupt(step, done, total, note=""):
    if step == "predict" and done:
        sys.exit(7)

for output in sys.argv[3:]:
    try:
        predict(
            PredictConfig(
                bundle=sys.argv[1], data=sys.argv[2], output=output, batch_size=4, address="local"
            ),
            interrupt,
        )
    except SystemExit as ended:
        assert ended.code == 7
"""


@pytest.mark.slow
def test_an_interrupted_job_stops_its_plan_before_its_ray(inputs: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "one", tmp_path / "two"]
    # otherwise a thread of the plan calls a Ray that is gone, which ends the process on the spot
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, inputs / "bundle", inputs / "archive", *outputs],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for output in outputs:
        assert read_record(output)["status"] == "stopped"
        assert read_rows(output, in_parts=True).num_rows > 0


@pytest.mark.slow
def test_ctrl_c_while_ray_starts_leaves_no_process_behind(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THIS_TEST", str(tmp_path))
    with start_job(inputs, tmp_path / "run", "--quiet") as driver:
        wait_until(lambda: any("raylet/raylet" in title(pid) for pid in descendants(driver.pid)))
        # when its agents start, but do not check yet whether it is alive
        wait_until(lambda: any("agent" in title(pid).lower() for pid in descendants(driver.pid)))
        time.sleep(0.5)
        os.killpg(driver.pid, signal.SIGINT)
        _, errors = driver.communicate()

    assert (driver.returncode, errors) == (130, "stopped; continue with --resume\n")
    wait_until(lambda: not with_variable("OF_THIS_TEST", str(tmp_path)))


def test_a_full_disk_ends_the_job_with_one_line_and_with_space_it_continues(
    undisturbed: pa.Table, inputs: Path, disk: Path
) -> None:
    output = disk / "run"

    def fill_up(step: str, done: int, total: int | None, note: str = "") -> None:
        if count_parts(output) >= 3:
            fill(disk / "ballast")

    with pytest.raises(StorageError) as failed:
        predict(run_config(inputs, output), fill_up)

    message = str(failed.value)
    assert message.startswith(f"{output}/")
    assert message.endswith(" cannot be written: No space left on device.")
    assert not list(output.rglob("*.partial"))
    assert not (output / "_SUCCESS").exists()
    num_kept = read_rows(output, in_parts=True).num_rows
    assert num_kept >= 3 * ROWS_PER_FILE

    (disk / "ballast").unlink()
    assert resume(inputs, output).skipped == num_kept
    check_complete(output, undisturbed)
