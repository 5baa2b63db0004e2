"""Scoring into an existing run: resuming and updating it, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cnnjobs.cli import main
from cnnjobs.data import synthetic
from cnnjobs.errors import RunExistsError
from cnnjobs.inference.predict import predict
from tests.support import archives
from tests.support.cli import without_progress
from tests.support.prediction_runs import by_path, check_record, config
from tests.support.processes import descendants, kill, kill_all, wait_until

pytestmark = pytest.mark.usefixtures("all_alone")


@pytest.fixture
def again(scored_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The same folder for a test that changes it; it is restored after the test."""
    shutil.copytree(scored_folder, tmp_path / "before")
    yield scored_folder
    shutil.rmtree(scored_folder)
    shutil.copytree(tmp_path / "before", scored_folder)


def test_resuming_a_finished_run_says_so_and_changes_nothing(
    scored_folder: Path, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _files(scored_folder / "run")

    assert _cnnjobs(untrained, scored_folder, "--resume") == 0

    assert (
        f"nothing to do: the run in {scored_folder / 'run'} is finished" in capsys.readouterr().out
    )
    assert _files(scored_folder / "run") == before


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ({"batch_size": 16}, "batch_size was 32, is 16"),
        ({"damaged": "score"}, "damaged was error, is score"),
        ({"partition_by": "label"}, "partition_by was None, is label"),
        ({"max_pixels": 1000}, "max_pixels was None, is 1000"),
    ],
)
@pytest.mark.parametrize("mode", ["resume", "update"])
def test_different_settings_are_refused_and_named(
    scored_folder: Path, untrained: Path, setting: dict[str, Any], difference: str, mode: str
) -> None:
    with pytest.raises(RunExistsError) as refused:
        predict(config(untrained, scored_folder, **{mode: True}, **setting))

    assert str(refused.value) == (
        f"{scored_folder / 'run'} contains a different run ({difference}); resume with the same "
        "settings, or choose another directory."
    )


@pytest.mark.parametrize("mode", ["resume", "update"])
def test_a_different_model_is_refused_and_named(
    scored_folder: Path, tmp_path: Path, mode: str
) -> None:
    archives.write_bundle(str(tmp_path / "bundle"))

    with pytest.raises(RunExistsError, match=r"model was covid-gap-\w{20}, is means-\w{20}"):
        predict(config(tmp_path / "bundle", scored_folder, **{mode: True}))


def test_different_data_can_be_updated_but_not_resumed(again: Path, untrained: Path) -> None:
    _draw_another(again, "normal/new.png")

    with pytest.raises(RunExistsError, match=r"the data have changed since .* \(1 new\)"):
        predict(config(untrained, again, resume=True))
    assert predict(config(untrained, again, update=True)).scored == 1


def test_an_update_without_changes_does_nothing(scored_folder: Path, untrained: Path) -> None:
    before = _files(scored_folder / "run")

    summary = predict(config(untrained, scored_folder, update=True))

    assert summary.already_finished
    assert summary.update == {"new": 0, "changed": 0, "again": 0, "relabelled": 0, "gone": 0}
    assert _files(scored_folder / "run") == before


def test_an_update_scores_new_changed_and_failed_images_and_keeps_rows_of_deleted_ones(
    again: Path, untrained: Path
) -> None:
    archive = again / "archive"
    changed, gone, hidden, *_ = sorted(archive.glob("normal/*.png"))
    hidden.rename(again / "hidden.png")
    hidden.symlink_to(again / "not there.png")
    predict(config(untrained, again, overwrite=True))
    assert by_path(again)[str(hidden)]["error"] == "missing: the file is gone"
    before = by_path(again)

    # in the listing it is the same file; only its row says that it was missing
    unchanged = hidden.lstat()
    (again / "hidden.png").rename(again / "not there.png")
    assert hidden.lstat() == unchanged
    _draw_another(again, "opacity/new.png")
    shutil.copy(archive / "opacity" / "new.png", changed)
    gone.unlink()
    summary = predict(config(untrained, again, update=True))

    assert summary.update is not None
    assert summary.update["new"] == 1
    assert summary.update["changed"] + summary.update["again"] == 2
    assert summary.update["gone"] == 1
    assert (summary.scored, summary.skipped) == (3, 40)
    rows = by_path(again)
    assert set(rows) == {*before, str(archive / "opacity" / "new.png")}
    assert rows[str(hidden)]["error"] is None
    assert rows[str(gone)] == before[str(gone)]
    new = rows[str(archive / "opacity" / "new.png")]
    assert rows[str(changed)]["probability"] == new["probability"]
    assert rows[str(changed)]["probability"] != before[str(changed)]["probability"]
    check_record(again)
    assert predict(config(untrained, again, update=True)).already_finished


def test_a_stopped_update_is_completed_by_the_next(again: Path, untrained: Path) -> None:
    changed = min((again / "archive" / "normal").glob("*.png"))
    _draw_another(again, "normal/new.png")
    shutil.copy(again / "archive" / "normal" / "new.png", changed)
    predict(config(untrained, again, update=True))
    whole = by_path(again)
    # as if it had been stopped before it wrote the new rows
    (again / "run" / "_SUCCESS").unlink()
    max((again / "run" / "predictions").iterdir()).unlink()

    summary = predict(config(untrained, again, update=True))

    assert summary.update == {"new": 0, "changed": 0, "again": 0, "relabelled": 0, "gone": 0}
    assert summary.scored == 2
    assert by_path(again) == whole
    check_record(again)


@pytest.mark.slow
def test_an_update_killed_while_it_scores_is_completed_by_the_next(
    ray_address: str, tmp_path: Path
) -> None:
    archives.write_bundle(str(tmp_path / "bundle"))
    archives.write_archive(tmp_path / "archive", 20)
    settings = {"batch_size": 4, "rows_per_file": 16}
    predict(config(tmp_path / "bundle", tmp_path, **settings))
    archives.write_archive(tmp_path / "more", 200)
    for path in (tmp_path / "more").glob("*/*"):
        path.rename(tmp_path / "archive" / path.parent.name / f"more-{path.name}")

    words = ["predict", tmp_path / "bundle", tmp_path / "archive", "-o", tmp_path / "run"]
    words += ["--batch-size", "4", "--rows-per-file", "16"]
    driver = subprocess.Popen(
        [sys.executable, "-c", "from cnnjobs.cli import main; main()", *words, "--update"],
        env={**os.environ, "RAY_ADDRESS": ray_address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    parts = tmp_path / "run" / "predictions"
    try:
        wait_until(lambda: driver.poll() is not None or len(list(parts.glob("part-*"))) >= 4)
    finally:
        below = descendants(driver.pid)
        kill(driver.pid)
        driver.wait()
        kill_all(below)
    assert driver.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "_SUCCESS").exists()

    summary = predict(config(tmp_path / "bundle", tmp_path, update=True, **settings))

    assert summary.scored + summary.skipped == 220
    assert 20 < summary.skipped < 220
    assert set(by_path(tmp_path)) == set(map(str, (tmp_path / "archive").glob("*/*")))
    check_record(tmp_path)


def test_a_job_with_too_many_bad_images_stops_after_a_part_and_continues_with_a_higher_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives.write_bundle(str(tmp_path / "bundle"))
    archives.write_archive(tmp_path / "archive", 160, num_broken=40)
    sizes = ["--batch-size", "4", "--rows-per-file", "16"]

    assert _cnnjobs(tmp_path / "bundle", tmp_path, *sizes, "--max-errors", "2%") == 3

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "stopped"
    assert not (tmp_path / "run" / "_SUCCESS").exists()
    rows = record["rows"]
    # half of the first folder is broken and 3 are allowed: the first part exceeds that, and what
    # has been scored besides, of a batch of 4 and a block of 16, is written, too
    assert (rows["scored"], rows["failed"], rows["left"]) == (10, {"truncated": 10}, 140)
    assert without_progress(capsys.readouterr().err) == (
        "error: 10 of 20 images failed, but max_errors allows 2%; stopped with 140 left; find out "
        "why, then continue with --resume and a larger --max-errors: "
        f"{tmp_path / 'run'}.\n"
    )
    parts = sorted((tmp_path / "run" / "predictions").iterdir())
    assert [pq.read_metadata(part).num_rows for part in parts] == [16, 4]
    kept = [part.read_bytes() for part in parts]

    assert _cnnjobs(tmp_path / "bundle", tmp_path, *sizes, "--max-errors", "40", "--resume") == 0

    assert [part.read_bytes() for part in parts] == kept
    assert len(by_path(tmp_path)) == 160
    check_record(tmp_path)


def _cnnjobs(bundle: Path, folder: Path, *flags: str) -> int:
    """Run the command; returns its exit code."""
    words = ["predict", str(bundle), str(folder / "archive"), "-o", str(folder / "run"), *flags]
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(str(ended.value.code))


def _draw_another(folder: Path, name: str) -> None:
    """Add a drawing to the archive."""
    synthetic.write_archive(folder / "another", num_images=20, seed=77)
    shutil.copy(min((folder / "another").glob("opacity/*.png")), folder / "archive" / name)


def _files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """The modification time and content of every file."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
