"""The parts that a job writes: how many rows, when, and in which folders."""

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs.errors import StorageError
from cnnjobs.inference import predictions
from cnnjobs.inference.partitions import Partition
from cnnjobs.inference.predictions import Writer
from tests.support import prediction_tables

ROWS = prediction_tables.table(["normal"], each=136)


def writer(run: Path, *, rows_per_file: int = 16, partition: Partition | None = None) -> Writer:
    return Writer(str(run), {}, rows_per_file=rows_per_file, partition=partition)


def sizes(run: Path) -> list[int]:
    """Rows of each part, by name."""
    folder = run / predictions.FOLDER
    return [pq.read_metadata(path).num_rows for path in sorted(folder.rglob("*.parquet"))]


@pytest.mark.parametrize("at_once", [1, 5, 16, 64, 72, 136])
def test_a_part_has_exactly_the_rows_asked_for_however_many_arrive_at_once(
    tmp_path: Path, at_once: int
) -> None:
    parts = writer(tmp_path)
    with parts:
        for start in range(0, 136, at_once):
            parts.add(ROWS.slice(start, at_once))
            # what a kill would lose is less than a part
            assert min(start + at_once, 136) - sum(sizes(tmp_path)) < 16

    assert sizes(tmp_path) == [16] * 8 + [8]
    written = predictions.read_whole(str(tmp_path), parts.entries)
    assert written.equals(ROWS)
    assert {name: entry["rows"] for name, entry in parts.entries.items()} == {
        f"part-{number:05d}.parquet": size for number, size in enumerate(sizes(tmp_path))
    }


def test_adding_says_whether_a_part_was_written(tmp_path: Path) -> None:
    parts = writer(tmp_path)
    with parts:
        answers = [parts.add(ROWS.slice(start, 8)) for start in (0, 8, 16, 24)]

    assert answers == [False, True, False, True]


def test_rows_that_were_scored_when_a_job_was_stopped_are_written(tmp_path: Path) -> None:
    parts = writer(tmp_path)
    with contextlib.suppress(KeyboardInterrupt), parts:
        parts.add(ROWS.slice(0, 20))
        raise KeyboardInterrupt

    assert sizes(tmp_path) == [16, 4]


def test_after_writing_failed_nothing_more_is_written(tmp_path: Path) -> None:
    (tmp_path / predictions.FOLDER).write_bytes(b"a file where a folder should be")
    parts = writer(tmp_path)

    with pytest.raises(StorageError), parts:
        parts.add(ROWS)

    assert parts.entries == {}


@pytest.mark.parametrize("by", ["label", "prefix"])
def test_a_run_with_folders_of_an_older_version_goes_on_in_such_folders(
    tmp_path: Path, by: str
) -> None:
    old = {f"{by}=normal/part-00003.parquet": {"rows": 1, "sha256": ""}}
    partition = Partition(by=by, roots=(prediction_tables.ARCHIVE,))
    parts = Writer(str(tmp_path), old, rows_per_file=16, partition=partition)
    rows = prediction_tables.table(["normal", "a b", None])

    with parts:
        parts.add(rows)

    folders = [f"{by}=normal", f"{by}=a%20b", f"{by}=__HIVE_DEFAULT_PARTITION__"]
    names = [f"{folder}/part-0000{number}.parquet" for number, folder in enumerate(folders, 4)]
    assert list(parts.entries) == [*old, *names]
    assert predictions.read_whole(str(tmp_path), names).equals(rows)


def test_rows_whose_folder_changes_are_moved_and_never_in_two_parts(tmp_path: Path) -> None:
    rows = prediction_tables.table(["normal", "opacity"], each=3)
    parts = writer(tmp_path, partition=prediction_tables.LAYOUTS["label"])
    with parts:
        parts.add(rows)
    normal, opacity = parts.entries
    label = pa.array(["normal", "opacity", "opacity"])

    with parts:
        relabelled = predictions.read_whole(str(tmp_path), [normal]).set_column(
            1, rows.schema.field("label"), label
        )
        parts.rewrite(normal, relabelled)
        parts.rewrite(opacity, rows.slice(0, 0))

    assert [entry["rows"] for entry in parts.entries.values()] == [1, 2]
    read = predictions.read_whole(str(tmp_path), parts.entries)
    assert read["label"].to_pylist() == ["normal", "opacity", "opacity"]
    assert sizes(tmp_path) == [1, 2]
