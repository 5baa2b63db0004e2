"""A scoring that is struck while it runs ends with the rows of one that is not."""

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs.config import PredictConfig
from cnnjobs.data.sources import open_data
from cnnjobs.errors import CnnjobsError, StorageError
from cnnjobs.inference import ray_pipeline
from cnnjobs.inference.predict import PredictSummary, predict
from cnnjobs.inference.predictor import Scoring
from cnnjobs.models import bundle
from tests.support import archives
from tests.support.disks import fill
from tests.support.paths import ROOT
from tests.support.processes import (
    descendants,
    kill,
    kill_all,
    scorers,
    title,
    wait_until,
    with_variable,
)

if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)

CNNJOBS = [sys.executable, "-c", "from cnnjobs.cli import main; main()"]
NUM_IMAGES, NUM_BROKEN = 480, 8
#: A block of Ray Data's holds 4 batches of this size: one part of the predictions.
BATCH_SIZE, ROWS_PER_FILE = 4, 16


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive and a bundle."""
    folder = tmp_path_factory.mktemp("given")
    archives.write_archive(folder / "archive", NUM_IMAGES, num_broken=NUM_BROKEN)
    archives.write_bundle(str(folder / "bundle"))
    return folder


@pytest.fixture(scope="module")
def undisturbed(
    ray_session: None, given: Path, tmp_path_factory: pytest.TempPathFactory
) -> pa.Table:
    """What is scored when nothing happens."""
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    predict(_config(given, output))
    rows = _rows(output)
    assert rows.num_rows == len(set(rows["path"].to_pylist())) == NUM_IMAGES
    assert rows["error"].null_count == NUM_IMAGES - NUM_BROKEN
    return rows


def test_a_killed_scorer_of_two_is_replaced_and_the_other_gives_its_place_back(
    undisturbed: pa.Table, given: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    before: list[int] = []
    after: list[int] = []

    def strike(step: str, done: int, total: int | None, note: str = "") -> None:
        now = scorers(os.getpid())
        if not before and _num_parts(output) >= 2:
            before.extend(now)
            kill(before[0])
        elif before and not after and set(now) - set(before):
            # the next plan has begun: there are two cores, so both of its scorers find one
            wait_until(lambda: len(set(scorers(os.getpid())) - set(before)) == 2)
            after.extend(scorers(os.getpid()))

    config = _config(given, output, actors=2, cpus_per_actor=1)
    # by chance alone it may come at once, or after minutes
    gc.disable()
    try:
        summary = predict(config, strike)
    finally:
        gc.enable()

    assert len(before) == len(after) == 2
    assert not set(before) & set(after)
    assert summary.skipped == 0
    _check_whole(output, undisturbed)


def test_scorers_that_die_again_and_again_end_the_job_with_one_line_that_names_a_file(
    undisturbed: pa.Table, given: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    over = threading.Event()

    def strike_all() -> None:
        while not over.wait(0.02):
            if _num_parts(output) >= 2:
                for pid in scorers(os.getpid()):
                    kill(pid)

    striker = threading.Thread(target=strike_all)
    striker.start()
    try:
        with pytest.raises(CnnjobsError) as failed:
            predict(_config(given, output))
    finally:
        over.set()
        striker.join()

    num_kept = _rows(output).num_rows
    assert str(failed.value) == (
        f"what scores died 3 times in a row before {undisturbed['path'][num_kept]} had a score: "
        "memory may be short, or the file may be the cause; see Ray's messages, then --resume."
    )
    assert _resumed(given, output).skipped == num_kept
    _check_whole(output, undisturbed)


def test_a_model_that_no_scorer_can_open_ends_the_job_with_one_line_that_says_so(
    ray_session: None, given: Path, tmp_path: Path
) -> None:
    shutil.copytree(given / "bundle", tmp_path / "bundle")
    opened = bundle.read(str(tmp_path / "bundle"))
    # as on a machine that does not see the folder
    shutil.rmtree(tmp_path / "bundle")
    rows = open_data(str(given / "archive"), for_training=False).table
    how = Scoring(bundles=[opened], engine="openvino", batch_size=BATCH_SIZE, run_id="")

    with pytest.raises(CnnjobsError) as failed:
        list(ray_pipeline.score(rows, how))

    assert str(failed.value) == (
        f"no scorer could start, tried 3 times in a row before {rows['path'][0]} had a score: "
        f"{opened.uri} has no OpenVINO export (it was never made); use --engine keras or auto."
    )


def test_on_a_terminal_a_killed_scorer_is_a_line_of_rays_and_no_stack(
    undisturbed: pa.Table, given: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with _started(given, output, "--json") as driver:
        _wait_for_parts(driver, output, 2)
        kill(scorers(driver.pid)[0])
        result, complaint = driver.communicate(timeout=60)

    assert driver.returncode == 0
    assert json.loads(result)["indexed"] == NUM_IMAGES
    assert "Traceback" not in complaint
    assert all("(raylet)" in line for line in complaint.splitlines())
    _check_whole(output, undisturbed)


def test_a_killed_node_does_not_end_the_job(
    undisturbed: pa.Table, given: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with _two_nodes() as (address, raylet), _started(given, output, address=address) as driver:
        _wait_for_parts(driver, output, 2)
        assert len(scorers(raylet)) == 1
        kill(raylet)
        wait_until(lambda: driver.poll() is not None)

    assert driver.returncode == 0
    assert _record(output)["rows"]["skipped"] == 0
    _check_whole(output, undisturbed)


def test_a_driver_killed_at_five_moments_is_resumed_each_time_and_loses_and_doubles_nothing(
    undisturbed: pa.Table, given: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    moments = random.Random(7)
    for _ in range(5):
        num_parts = _num_parts(output) + moments.randint(0, 3)
        with _started(given, output, "--resume") as driver:
            _wait_for_parts(driver, output, num_parts)
            time.sleep(moments.uniform(0, 0.2))
            assert driver.poll() is None
        assert driver.returncode == -signal.SIGKILL
        assert not (output / "_SUCCESS").exists()

    num_kept = _rows(output, in_parts=True).num_rows
    assert 0 < num_kept < NUM_IMAGES
    assert _resumed(given, output).skipped == num_kept
    _check_whole(output, undisturbed)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_a_stopped_driver_writes_what_is_scored_and_says_how_to_go_on(
    undisturbed: pa.Table, given: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    output = tmp_path / "run"
    with _started(given, output, rows_per_file=NUM_IMAGES) as driver:
        # its first line comes with the first rows, which then wait for others to make a part
        wait_until(lambda: driver.poll() is not None or (output / "progress.jsonl").exists())
        # Ctrl-C reaches all processes of the terminal
        os.killpg(driver.pid, number) if number == signal.SIGINT else driver.send_signal(number)
        _, complaint = driver.communicate(timeout=60)

    assert (driver.returncode, complaint) == (code, "stopped; continue with --resume\n")
    assert _record(output)["status"] == "stopped"
    assert [path.name for path in (output / "predictions").iterdir()] == ["part-00000.parquet"]
    num_kept = _rows(output, in_parts=True).num_rows
    assert 0 < num_kept < NUM_IMAGES

    assert _resumed(given, output, rows_per_file=NUM_IMAGES).skipped == num_kept
    _check_whole(output, undisturbed)


#: Two jobs, each broken off by its own process when the first rows are there.
_BROKEN_OFF = """
import sys
from cnnjobs.config import PredictConfig
from cnnjobs.inference.predict import predict

def strike(step, done, total, note=""):
    if done:
        sys.exit(7)

for output in sys.argv[3:]:
    try:
        predict(
            PredictConfig(
                bundle=sys.argv[1], data=sys.argv[2], output=output, batch_size=4, address="local"
            ),
            strike,
        )
    except SystemExit as ended:
        assert ended.code == 7
"""


def test_a_job_that_breaks_off_stops_its_plan_before_its_ray(given: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "one", tmp_path / "two"]
    # else a thread of the plan's asks a Ray that is gone, and the process ends on the spot
    done = subprocess.run(
        [sys.executable, "-c", _BROKEN_OFF, given / "bundle", given / "archive", *outputs],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for output in outputs:
        assert _record(output)["status"] == "stopped"
        assert _rows(output, in_parts=True).num_rows > 0


def test_ctrl_c_while_ray_starts_leaves_nothing_of_it_behind(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THIS_TEST", str(tmp_path))
    with _started(given, tmp_path / "run") as driver:
        wait_until(lambda: any("raylet/raylet" in title(pid) for pid in descendants(driver.pid)))
        # when its agents begin, but do not yet look whether it lives
        wait_until(lambda: any("agent" in title(pid).lower() for pid in descendants(driver.pid)))
        time.sleep(0.5)
        os.killpg(driver.pid, signal.SIGINT)
        _, complaint = driver.communicate(timeout=60)

    assert (driver.returncode, complaint) == (130, "stopped; continue with --resume\n")
    wait_until(lambda: not with_variable("OF_THIS_TEST", str(tmp_path)))


def test_a_full_disk_ends_the_job_with_one_line_and_with_space_it_goes_on(
    undisturbed: pa.Table, given: Path, disk: Path
) -> None:
    output = disk / "run"

    def fill_up(step: str, done: int, total: int | None, note: str = "") -> None:
        if _num_parts(output) >= 3:
            fill(disk / "ballast")

    with pytest.raises(StorageError) as failed:
        predict(_config(given, output), fill_up)

    message = str(failed.value)
    assert message.startswith(f"{output}/")
    assert message.endswith(" cannot be written: No space left on device.")
    assert not list(output.rglob("*.partial"))
    assert not (output / "_SUCCESS").exists()
    num_kept = _rows(output, in_parts=True).num_rows
    assert num_kept >= 3 * ROWS_PER_FILE

    (disk / "ballast").unlink()
    assert _resumed(given, output).skipped == num_kept
    _check_whole(output, undisturbed)


def _config(given: Path, output: Path, **settings: Any) -> PredictConfig:
    return PredictConfig(
        bundle=str(given / "bundle"),
        data=str(given / "archive"),
        output=str(output),
        **{"batch_size": BATCH_SIZE, "rows_per_file": ROWS_PER_FILE, **settings},
    )


def _resumed(given: Path, output: Path, **settings: Any) -> PredictSummary:
    return predict(_config(given, output, resume=True, **settings))


@contextmanager
def _started(
    given: Path,
    output: Path,
    *flags: str,
    address: str = "local",
    rows_per_file: int = ROWS_PER_FILE,
) -> Iterator["subprocess.Popen[str]"]:
    """Score in a process of its own, which is killed at the end with all that it started."""
    sizes = ["--batch-size", str(BATCH_SIZE), "--rows-per-file", str(rows_per_file)]
    driver = subprocess.Popen(
        [*CNNJOBS, "predict", given / "bundle", given / "archive", "-o", output, *sizes, *flags],
        env={**os.environ, "RAY_ADDRESS": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield driver
    finally:
        below = descendants(driver.pid)
        kill(driver.pid)
        driver.communicate()
        kill_all(below)


@contextmanager
def _two_nodes() -> Iterator[tuple[str, int]]:
    """A cluster of two nodes with a core each: its address, and the second's raylet."""
    from ray.cluster_utils import Cluster

    quick = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    before = set(descendants(os.getpid()))
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": quick},
    )
    try:
        second = cluster.add_node(num_cpus=1)
        yield cluster.address, second.all_processes["raylet"][0].process.pid
    finally:
        cluster.shutdown()
        kill_all(set(descendants(os.getpid())) - before)


def _check_whole(output: Path, undisturbed: pa.Table) -> None:
    """The run is finished, has the same rows in the same order, and its books balance."""
    record = _record(output)
    assert (output / "_SUCCESS").exists()
    assert record["status"] == "done"
    assert _rows(output).equals(undisturbed)
    assert _rows(output, in_parts=True).num_rows == NUM_IMAGES
    counts = record["rows"]
    assert counts["indexed"] == NUM_IMAGES
    assert counts["scored"] + sum(counts["failed"].values()) + counts["skipped"] == NUM_IMAGES


def _rows(output: Path, *, in_parts: bool = False) -> pa.Table:
    """The rows that the record lists or, of an unfinished run, those in the parts."""
    record = _record(output)
    folder = output / "predictions"
    listed = sorted(folder.glob("part-*.parquet"))
    if not in_parts and "files" in record:
        listed = [folder / name for name in record["files"]]
    return pa.concat_tables(pq.read_table(file) for file in listed).drop_columns("run_id")


def _record(output: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((output / "run.json").read_text())
    return record


def _wait_for_parts(driver: "subprocess.Popen[str]", output: Path, number: int) -> None:
    """Wait until the run is there, with so many parts."""
    wait_until(
        lambda: (
            driver.poll() is not None
            or ((output / "run.json").exists() and _num_parts(output) >= number)
        )
    )
    assert driver.poll() is None


def _num_parts(output: Path) -> int:
    return len(list((output / "predictions").glob("part-*.parquet")))
