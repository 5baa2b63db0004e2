"""Scoring in a child process: the rows of Ray's, bit for bit, whatever happens to the child."""

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from cnnjobs.cluster.child import Child, Died
from cnnjobs.config import PredictConfig
from cnnjobs.data.sources import open_data
from cnnjobs.errors import BundleError, CnnjobsError, SourceError
from cnnjobs.inference import backends
from cnnjobs.inference.child_process import ChildBackend
from cnnjobs.inference.predict import predict
from cnnjobs.inference.predictor import Scoring
from cnnjobs.models import bundle
from tests.support.disturbed_runs import (
    ALONE,
    BATCH_SIZE,
    NUM_IMAGES,
    check_complete,
    moving_away,
    read_record,
    read_rows,
    resume,
    run_config,
    scorers_killed,
    start_job,
    wait_for_parts,
)
from tests.support.processes import descendants, kill, scorers, wait_until

if sys.platform != "linux":
    pytest.skip("processes are found in /proc", allow_module_level=True)


def test_the_rows_are_those_of_ray(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path, alone: None
) -> None:
    output = tmp_path / "run"
    summary = predict(run_config(inputs, output))

    check_complete(output, undisturbed)
    assert (summary.engine, summary.skipped) == ("openvino", 0)
    assert sum(summary.stages.values()) == pytest.approx(1, abs=0.01)


def test_nothing_of_ray_is_started_or_imported(inputs: Path, tmp_path: Path) -> None:
    code = """
import sys
from cnnjobs.config import PredictConfig
from cnnjobs.inference.predict import predict
predict(PredictConfig(bundle=sys.argv[1], data=sys.argv[2], output=sys.argv[3]))
heavy = ("ray", "tensorflow", "keras", "scipy", "botocore.parsers")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, inputs / "bundle", inputs / "archive", tmp_path / "run"],
        env={**os.environ, "RAY_ADDRESS": "", "RAY_TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_neither_process_loads_what_takes_long(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with start_job(inputs, output, address=ALONE, rows_per_file=BATCH_SIZE) as job:
        wait_for_parts(job, output, 1)
        (scorer,) = scorers(job.pid)
        libraries = [Path(f"/proc/{pid}/maps").read_text() for pid in (job.pid, scorer)]
    assert all("/pyarrow/" in each for each in libraries)
    for name in ("ray", "tensorflow", "pandas", "scipy"):
        assert [f"-packages/{name}/" in each for each in libraries] == [False, False], name


def test_a_killed_child_is_replaced_and_nothing_is_lost(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with start_job(inputs, output, "--quiet", address=ALONE) as driver:
        wait_for_parts(driver, output, 2)
        kill(scorers(driver.pid)[0])
        _, errors = driver.communicate()

    assert (driver.returncode, errors) == (0, "")
    assert read_record(output)["rows"]["skipped"] == 0
    check_complete(output, undisturbed)


def test_a_child_ends_with_its_parent(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with start_job(inputs, output, address=ALONE) as driver:
        wait_for_parts(driver, output, 1)
        children = descendants(driver.pid)
        assert children
        kill(driver.pid)
        driver.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_children_that_keep_dying_end_the_job_with_one_line_that_names_a_file(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path, alone: None
) -> None:
    output = tmp_path / "run"
    dies = pytest.raises(CnnjobsError, match=r"^the scoring process died 3 times in a row before")
    with scorers_killed(output, after=2), dies:
        predict(run_config(inputs, output))

    num_kept = read_rows(output).num_rows
    assert resume(inputs, output).skipped == num_kept < NUM_IMAGES
    check_complete(output, undisturbed)


def test_a_run_goes_on_where_it_did_not_begin(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path, ray_session: None
) -> None:
    output = tmp_path / "run"
    with start_job(inputs, output, address=ALONE) as driver:
        wait_for_parts(driver, output, 2)

    # on the tests' Ray
    assert resume(inputs, output).skipped > 0
    check_complete(output, undisturbed)


def test_a_source_that_moves_away_stops_the_job(
    undisturbed: pa.Table, inputs: Path, tmp_path: Path, alone: None
) -> None:
    output = tmp_path / "run"
    stops = pytest.raises(SourceError, match=r"^50 images in a row failed, the last: ")
    with moving_away(inputs, output, after=3) as move, stops:
        predict(run_config(inputs, output), move)
    assert resume(inputs, output).skipped > 0
    check_complete(output, undisturbed, in_order=False)


def test_a_model_that_cannot_be_loaded_ends_the_job_with_one_line(
    inputs: Path, tmp_path: Path
) -> None:
    shutil.copytree(inputs / "bundle", tmp_path / "bundle")
    opened = bundle.read(str(tmp_path / "bundle"))
    shutil.rmtree(tmp_path / "bundle")
    rows = open_data(str(inputs / "archive"), for_training=False).table
    scoring = Scoring(bundles=[opened], engine="openvino", batch_size=BATCH_SIZE, run_id="")

    with pytest.raises(CnnjobsError) as failed:
        list(backends.score(ChildBackend(), rows, scoring))

    assert str(failed.value) == (
        f"no scoring process could start (3 attempts, at {rows['path'][0]}): "
        f"{opened.uri} has no OpenVINO export (it was never made); use --engine keras or auto."
    )


def test_a_missing_export_is_made(inputs: Path, tmp_path: Path, alone: None) -> None:
    shutil.copytree(inputs / "bundle", tmp_path / "bundle")
    shutil.rmtree(tmp_path / "bundle" / "openvino")
    (tmp_path / "bundle" / "SHA256SUMS").unlink()
    config = dataclasses.replace(
        run_config(inputs, tmp_path / "run"), bundle=str(tmp_path / "bundle")
    )
    assert predict(config).engine == "openvino"
    assert (tmp_path / "bundle" / "openvino" / "export.json").exists()


def test_what_a_function_raises_in_the_child_is_raised_here() -> None:
    child = Child()
    try:
        with pytest.raises(BundleError, match="is not a complete bundle"):
            child.answer(bundle.read, "/nowhere")
        assert child.answer(os.path.basename, "a/b") == "b"
        with pytest.raises(Died):
            child.answer(os._exit, 3)
    finally:
        child.close()


def _config(**settings: object) -> PredictConfig:
    return PredictConfig(bundle="bundle", data="data", output="run", **settings)


def test_ray_is_used_if_it_is_there_or_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "ray")
    assert not backends.needs_ray(_config(), 100)

    assert backends.needs_ray(_config(), backends.MAX_WITHOUT_RAY + 1)
    assert backends.needs_ray(_config(address="local"), 100)
    assert backends.needs_ray(_config(actors=2), 100)
    assert backends.needs_ray(_config(gpus_per_actor=0.5), 100)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert backends.needs_ray(_config(), 100)
    monkeypatch.delenv("RAY_ADDRESS")
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as head:
        (tmp_path / "ray" / "ray_current_cluster").write_text(
            f"127.0.0.1:{head.getsockname()[1]}\n"
        )
        assert backends.needs_ray(_config(), 100)
    # the record of a head that was killed
    assert not backends.needs_ray(_config(), 100)
