"""Scoring again into the same run: going on, bringing it up to date, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from cnnjobs.cli import main
from cnnjobs.config import PredictConfig
from cnnjobs.data import synthetic
from cnnjobs.errors import RunExistsError
from cnnjobs.inference.predict import predict
from tests.support import archives
from tests.support.processes import descendants, kill, kill_all, wait_until

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 drawings of two classes, and 2 broken files."""
    folder = tmp_path_factory.mktemp("drawn") / "archive"
    synthetic.write_archive(folder, num_images=40, num_broken=2, seed=5)
    return folder


@pytest.fixture(scope="module")
def scored(untrained: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive and its run, of two parts and a CSV."""
    folder = tmp_path_factory.mktemp("scored")
    shutil.copytree(drawn, folder / "archive")
    predict(_config(untrained, folder, csv=True, rows_per_file=16))
    return folder


@pytest.fixture
def again(scored: Path, tmp_path: Path) -> Iterator[Path]:
    """The same folder for a test that changes it: all is as before after it."""
    shutil.copytree(scored, tmp_path / "before")
    yield scored
    shutil.rmtree(scored)
    shutil.copytree(tmp_path / "before", scored)


def test_a_resumed_run_that_is_finished_says_so_and_stays_as_it_is(
    scored: Path, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _files(scored / "run")

    assert _cnnjobs(untrained, scored, "--resume") == 0

    assert f"nothing to do: the run in {scored / 'run'} is finished" in capsys.readouterr().out
    assert _files(scored / "run") == before


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ({"batch_size": 16}, "batch_size was 32, is 16"),
        ({"damaged": "score"}, "damaged was error, is score"),
        ({"partition_by": "label"}, "partition_by was None, is label"),
        ({"max_pixels": 1000}, "max_pixels was None, is 1000"),
    ],
)
@pytest.mark.parametrize("way", ["resume", "update"])
def test_other_settings_are_refused_and_named(
    scored: Path, untrained: Path, setting: dict[str, Any], difference: str, way: str
) -> None:
    with pytest.raises(RunExistsError) as refused:
        predict(_config(untrained, scored, **{way: True}, **setting))

    assert str(refused.value) == (
        f"{scored / 'run'} contains a different run ({difference}); resume with the same settings, "
        "or choose another directory."
    )


@pytest.mark.parametrize("way", ["resume", "update"])
def test_another_model_is_refused_and_named(
    scored: Path, tmp_path: Path, ray_session: None, way: str
) -> None:
    archives.write_bundle(str(tmp_path / "bundle"))

    with pytest.raises(RunExistsError, match=r"model was covid-gap-\w{16}, is means-\w{16}"):
        predict(_config(tmp_path / "bundle", scored, **{way: True}))


def test_a_resume_of_other_data_is_refused_and_an_update_is_not(
    again: Path, untrained: Path
) -> None:
    _draw_another(again, "normal/new.png")

    with pytest.raises(RunExistsError, match=r"\(manifest was \w{16}, is \w{16}\)"):
        predict(_config(untrained, again, resume=True))
    assert predict(_config(untrained, again, update=True)).scored == 1


def test_an_update_with_nothing_new_does_nothing(scored: Path, untrained: Path) -> None:
    before = _files(scored / "run")

    summary = predict(_config(untrained, scored, update=True))

    assert summary.already_finished
    assert summary.update == {"new": 0, "changed": 0, "again": 0, "gone": 0}
    assert _files(scored / "run") == before


def test_an_update_scores_what_is_new_changed_or_may_work_now_and_keeps_what_is_gone(
    again: Path, untrained: Path
) -> None:
    archive = again / "archive"
    changed, gone, hidden, *_ = sorted(archive.glob("normal/*.png"))
    hidden.rename(again / "hidden.png")
    hidden.symlink_to(again / "not there.png")
    predict(_config(untrained, again, overwrite=True))
    assert _by_path(again)[str(hidden)]["error"] == "missing: the file is gone"
    before = _by_path(again)

    # to the listing it is the same file, and only its row says that it was missing
    hidden_is = hidden.lstat()
    (again / "hidden.png").rename(again / "not there.png")
    assert hidden.lstat() == hidden_is
    _draw_another(again, "opacity/new.png")
    shutil.copy(archive / "opacity" / "new.png", changed)
    gone.unlink()
    summary = predict(_config(untrained, again, update=True))

    assert summary.update is not None
    assert summary.update["new"] == 1
    assert summary.update["changed"] + summary.update["again"] == 2
    assert summary.update["gone"] == 1
    assert (summary.scored, summary.skipped) == (3, 40)
    rows = _by_path(again)
    assert set(rows) == {*before, str(archive / "opacity" / "new.png")}
    assert rows[str(hidden)]["error"] is None
    assert rows[str(gone)] == before[str(gone)]
    new = rows[str(archive / "opacity" / "new.png")]
    assert rows[str(changed)]["probability"] == new["probability"]
    assert rows[str(changed)]["probability"] != before[str(changed)]["probability"]
    _check_books(again)
    assert predict(_config(untrained, again, update=True)).already_finished


def test_an_update_that_was_stopped_ends_right_with_another(again: Path, untrained: Path) -> None:
    changed = min((again / "archive" / "normal").glob("*.png"))
    _draw_another(again, "normal/new.png")
    shutil.copy(again / "archive" / "normal" / "new.png", changed)
    predict(_config(untrained, again, update=True))
    whole = _by_path(again)
    # as if it had been stopped before the part with the new rows
    (again / "run" / "_SUCCESS").unlink()
    max((again / "run" / "predictions").iterdir()).unlink()

    summary = predict(_config(untrained, again, update=True))

    assert summary.update == {"new": 0, "changed": 0, "again": 0, "gone": 0}
    assert summary.scored == 2
    assert _by_path(again) == whole
    _check_books(again)


def test_an_update_killed_while_it_scores_ends_right_with_another(
    ray_session: None, tmp_path: Path
) -> None:
    archives.write_bundle(str(tmp_path / "bundle"))
    archives.write_archive(tmp_path / "archive", 20)
    settings = {"batch_size": 4, "rows_per_file": 16}
    predict(_config(tmp_path / "bundle", tmp_path, **settings))
    archives.write_archive(tmp_path / "more", 200)
    for path in (tmp_path / "more").glob("*/*"):
        path.rename(tmp_path / "archive" / path.parent.name / f"more-{path.name}")

    words = ["predict", tmp_path / "bundle", tmp_path / "archive", "-o", tmp_path / "run"]
    words += ["--batch-size", "4", "--rows-per-file", "16"]
    driver = subprocess.Popen(
        [sys.executable, "-c", "from cnnjobs.cli import main; main()", *words, "--update"],
        env={**os.environ, "RAY_ADDRESS": "local"},
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

    summary = predict(_config(tmp_path / "bundle", tmp_path, update=True, **settings))

    assert summary.scored + summary.skipped == 220
    assert 20 < summary.skipped < 220
    assert set(_by_path(tmp_path)) == set(map(str, (tmp_path / "archive").glob("*/*")))
    _check_books(tmp_path)


def test_a_job_with_too_many_bad_images_stops_after_the_part_and_goes_on_with_more_allowed(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archives.write_bundle(str(tmp_path / "bundle"))
    archives.write_archive(tmp_path / "archive", 160, num_broken=40)
    sizes = ["--batch-size", "4", "--rows-per-file", "16"]

    assert _cnnjobs(tmp_path / "bundle", tmp_path, *sizes, "--max-errors", "2%") == 3

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "stopped"
    assert not (tmp_path / "run" / "_SUCCESS").exists()
    rows = record["rows"]
    # half of the first folder is broken, and 3 are allowed: the first part, a batch of 4 and a
    # block of 16, passes that
    assert (rows["scored"], rows["failed"], rows["left"]) == (10, {"truncated": 10}, 140)
    assert capsys.readouterr().err == (
        "error: 10 of 20 images failed, 2% allowed by max_errors; stopped with 140 left; see why, "
        f"then --resume with a larger --max-errors: {tmp_path / 'run'}.\n"
    )
    (part,) = (tmp_path / "run" / "predictions").iterdir()
    kept = part.read_bytes()

    assert _cnnjobs(tmp_path / "bundle", tmp_path, *sizes, "--max-errors", "40", "--resume") == 0

    assert part.read_bytes() == kept
    assert len(_by_path(tmp_path)) == 160
    _check_books(tmp_path)


@pytest.mark.parametrize("key", ["label", "prefix"])
def test_partitions_are_read_by_pyarrow_and_duckdb(
    untrained: Path, drawn: Path, scored: Path, tmp_path: Path, key: str
) -> None:
    shutil.copytree(drawn, tmp_path / "archive")
    loose = tmp_path / "archive" / "in no folder.png"
    shutil.copy(min(drawn.glob("normal/*.png")), loose)

    predict(_config(untrained, tmp_path, partition_by=key, rows_per_file=16))

    folder = tmp_path / "run" / "predictions"
    names = {"normal", "opacity", "__HIVE_DEFAULT_PARTITION__"}
    assert {path.name for path in folder.iterdir()} == {f"{key}={name}" for name in names}
    if key == "prefix":
        table = ds.dataset(folder, partitioning="hive").to_table()
        query = f"select prefix, count(*) from '{folder}/*/*.parquet' group by prefix"
        told = {name: number for name, number in duckdb.sql(query).fetchall() if name in names}
        counted = {name: table["prefix"].to_pylist().count(name) for name in ("normal", "opacity")}
        assert {name: told[name] for name in counted} == counted
    else:
        # the column is in the files as well: both say the same
        table = ds.dataset(folder).to_table()
        query = f"select label, count(*) from read_parquet('{folder}/*/*.parquet', "
        query += "hive_partitioning=false) group by label"
        counted = dict(duckdb.sql(query).fetchall())
        assert counted.pop(None) == 1
        assert counted == {
            name: table["label"].to_pylist().count(name) for name in ("normal", "opacity")
        }
    assert table.num_rows == len(set(table["path"].to_pylist())) == 43
    _check_books(tmp_path)


def test_duckdb_reads_the_documented_types(scored: Path) -> None:
    parts = f"'{scored}/run/predictions/*.parquet'"

    types = {
        name: kind for name, kind, *_ in duckdb.sql(f"describe select * from {parts}").fetchall()
    }

    texts = ("path", "label", "prediction", "error", "warning", "model", "run_id")
    numbers = {"probability": "FLOAT", "width": "INTEGER", "height": "INTEGER"}
    assert types == dict.fromkeys(texts, "VARCHAR") | numbers
    asked = "count(*), count(distinct path), count(error), count(probability)"
    assert duckdb.sql(f"select {asked} from {parts}").fetchall() == [(42, 42, 2, 40)]


def test_the_csv_holds_what_the_parts_hold(scored: Path) -> None:
    rows = pq.read_table(scored / "run" / "predictions")
    assert len(list((scored / "run" / "predictions").iterdir())) == 2
    told = pacsv.read_csv(
        scored / "run" / "predictions.csv",
        convert_options=pacsv.ConvertOptions(
            column_types=rows.schema, strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    assert told.cast(rows.schema).equals(rows)


def _config(bundle: Path, folder: Path, **settings: Any) -> PredictConfig:
    return PredictConfig(
        bundle=str(bundle), data=str(folder / "archive"), output=str(folder / "run"), **settings
    )


def _cnnjobs(bundle: Path, folder: Path, *flags: str) -> int:
    """The exit code of the command."""
    words = ["predict", str(bundle), str(folder / "archive"), "-o", str(folder / "run"), *flags]
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(str(ended.value.code))


def _draw_another(folder: Path, name: str) -> None:
    """Put one more drawing into the archive."""
    synthetic.write_archive(folder / "another", num_images=20, seed=77)
    shutil.copy(min((folder / "another").glob("opacity/*.png")), folder / "archive" / name)


def _by_path(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows without the run's id; each path is there once."""
    table = ds.dataset(folder / "run" / "predictions").to_table().drop_columns("run_id")
    rows = {row["path"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows
    return rows


def _check_books(folder: Path) -> None:
    """The record of a finished run: its counts, and the files that stand there."""
    record = json.loads((folder / "run" / "run.json").read_text())
    counts = record["rows"]
    assert (folder / "run" / "_SUCCESS").exists()
    assert record["status"] == "done"
    counted = counts["scored"] + sum(counts["failed"].values()) + counts["skipped"]
    assert counts["indexed"] == counted == len(_by_path(folder))
    parts = (folder / "run" / "predictions").rglob("*.parquet")
    assert sorted(record["files"]) == sorted(
        str(path.relative_to(folder / "run" / "predictions")) for path in parts
    )


def _files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file's time and content."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
