"""Listings and what is left of a manifest go to a file, so that memory does not grow with them.

That they come to the same as in memory is tested where listings and `--exclude` are.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cnnjobs import schema
from cnnjobs.config import IndexConfig
from cnnjobs.data import differences, external_sort, manifest, manifest_file, streamed
from cnnjobs.data.index import IndexSummary, index, plan
from cnnjobs.data.manifest import Manifest
from cnnjobs.data.manifest_file import ManifestFile
from cnnjobs.data.sources import Rules
from cnnjobs.data.streamed import open_images
from cnnjobs.errors import InputError, StorageError
from cnnjobs.storage import local_listing
from tests.support.disks import fail_to_list, fill

#: Files, and rows that are worked on at once.
NUM, ROWS = 6000, 100


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_listing, "_ROWS", ROWS)
    monkeypatch.setattr(manifest_file, "_ROWS", ROWS)
    monkeypatch.setattr(external_sort, "RUN_ROWS", 3 * ROWS)
    monkeypatch.setattr(external_sort, "_HEAD_ROWS", 10)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Empty files with long names, in the order of no sorted table."""
    folder = tmp_path_factory.mktemp("archive") / "xrays"
    for name in ("normal", "normal.x"):
        (folder / name).mkdir(parents=True)
        for number in range(NUM // 2):
            (folder / name / f"{number:04d}-{'x' * 190}.png").touch()
    return str(folder)


class Peak:
    """A progress that notices how much memory Arrow holds."""

    def __init__(self) -> None:
        self.before = pa.total_allocated_bytes()
        self.most = 0

    def look(self) -> None:
        self.most = max(self.most, pa.total_allocated_bytes() - self.before)

    def __call__(self, step: str, *counts: Any) -> None:
        self.look()


def test_memory_does_not_grow_with_a_listing(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak = Peak()
    read = ManifestFile._read

    def reading(self: ManifestFile, columns: Any) -> Iterator[pa.Table]:
        for rows in read(self, columns):
            peak.look()
            yield rows

    monkeypatch.setattr(ManifestFile, "_read", reading)
    without = {"content": False, "split": False}
    summary = index(IndexConfig(sources=(archive,), output=f"{tmp_path}/m", **without), peak)
    assert summary.num_images == summary.num_groups == NUM
    images = open_images(archive, exclude=["0000-*"], progress=peak)
    assert images.count("all") == open_images(summary.manifest, exclude=["0000-*"]).count("all")
    assert images.count("all") == NUM - 2
    size = manifest.read(summary.manifest).table.nbytes
    assert 0 < peak.most < size / 4


@pytest.mark.parametrize("options", [{"split": False}, {"labels": False}])
def test_the_summary_and_the_plan_are_those_of_an_index_in_memory(
    options: dict[str, Any], archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(**more: Any) -> IndexConfig:
        return IndexConfig(
            sources=(archive,), output=f"{tmp_path}/m.parquet", content=False, **options, **more
        )

    planned, summary = plan(made()), index(made())
    written = manifest.read(summary.manifest)
    monkeypatch.setattr(streamed, "is_possible", lambda how: False)
    assert plan(made(overwrite=True)) == planned
    assert index(made(overwrite=True)) == summary
    again = manifest.read(summary.manifest)
    assert again.table.equals(written.table)
    assert again.settings == written.settings


def config_of(folder: Path, **more: Any) -> IndexConfig:
    without = {"content": False, "split": False}
    output = str(folder.parent / "m.parquet")
    return IndexConfig(sources=(str(folder),), output=output, **without, **more)


def updated(folder: Path, **more: Any) -> IndexSummary:
    return index(config_of(folder, **more))


@pytest.mark.parametrize("other", ["normal.x", "other"], ids=["unsorted", "sorted"])
def test_an_update_is_that_of_an_index_in_memory(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "xrays"
    for name in ("normal", other, "unlisted"):
        (folder / name).mkdir(parents=True)
        for number in range(2 * ROWS):
            (folder / name / f"{number:04d}.png").touch()
    first = manifest.read(updated(folder).manifest)
    ages = pa.array(range(first.table.num_rows))
    joined = pa.array(["patient 1"] * 3 + first.table["group"].to_pylist()[3:])
    rows = first.table.append_column("age", ages).set_column(
        first.table.column_names.index("group"), "group", joined
    )
    Manifest(rows, first.settings).write(first_file := str(tmp_path / "first.parquet"))
    for number in range(0, ROWS, 7):
        (folder / "normal" / f"{number:04d}.png").unlink()
        (folder / other / f"{number:04d}.png").write_bytes(b"x" * number)
        (folder / other / f"{number:04d}b.png").touch()
    fail_to_list("unlisted", monkeypatch)
    found = []
    for is_streamed in (True, False):
        if not is_streamed:
            monkeypatch.setattr(streamed, "is_possible", lambda how: False)
        shutil.copy(first_file, tmp_path / "m.parquet")
        planned = plan(config_of(folder, update=True))
        summary = updated(folder, update=True)
        table = manifest.read(summary.manifest).table
        listed = [path for path in table["path"].to_pylist() if "/unlisted/" not in path]
        found.append((planned["update"], summary, listed, table.sort_by("path")))
    assert found[0] == found[1]
    changes, summary, _, table = found[0]
    counts = {"new": 15, "changed": 15, "again": 0, "gone": 15, "unchanged": 6 * ROWS - 30}
    assert changes == summary.update == counts
    assert table["age"].null_count == 30
    assert summary.num_groups == 6 * ROWS - 1


def test_memory_does_not_grow_with_an_update_and_one_without_changes_changes_nothing(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = IndexConfig(
        sources=(archive,), output=f"{tmp_path}/m.parquet", content=False, split=False
    )
    index(config)
    before = (tmp_path / "m.parquet").read_bytes()
    between = differences.between
    most = []
    for is_streamed in (True, False):
        if not is_streamed:
            monkeypatch.setattr(streamed, "is_possible", lambda how: False)
        peak = Peak()

        def compared(*arguments: Any, peak: Peak = peak) -> Any:
            peak.look()
            return between(*arguments)

        monkeypatch.setattr(differences, "between", compared)
        summary = index(dataclasses.replace(config, update=True), peak)
        counts = {"new": 0, "changed": 0, "again": 0, "gone": 0, "unchanged": NUM}
        assert summary.update == counts
        # in memory, the row groups of the file have another size
        assert not is_streamed or (tmp_path / "m.parquet").read_bytes() == before
        most.append(peak.most)
    assert 0 < most[0] < most[1] / 2


def test_an_update_of_another_archive_or_by_other_rules_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "xrays"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.png").touch()
    updated(folder)
    before = (tmp_path / "m.parquet").read_bytes()
    for file in folder.iterdir():
        file.rename(folder / f"x{file.name}")
    with pytest.raises(InputError, match="9 of 9 images are gone and 9 of 9 are new: give the"):
        updated(folder, update=True)
    with pytest.raises(InputError, match=r"made otherwise \(seed was 0, is 1\)"):
        updated(folder, update=True, seed=1)
    assert (tmp_path / "m.parquet").read_bytes() == before


@pytest.mark.parametrize(
    "rules",
    [
        {"content": True},
        {"shares": {"train": 1.0}},
        {"groups": ["groups.csv"]},
        {"group_regex": "(p[0-9]+)"},
        {"source_regex": "(a|b)/"},
    ],
)
def test_what_concerns_all_images_at_once_needs_them_in_memory(rules: dict[str, Any]) -> None:
    assert streamed.is_possible(Rules(shares=None, content=False))
    assert not streamed.is_possible(Rules(**{"shares": None, "content": False, **rules}))


def test_extra_columns_of_a_manifest_stay(tmp_path: Path) -> None:
    table = pa.table({"path": [f"/x/{n}.png" for n in range(9)], "size_bytes": [1] * 9})
    rows = Manifest.from_arrow(table).table.append_column("sex", pa.array(["F"] * 9))
    file = f"{tmp_path}/m.parquet"
    Manifest(rows, {"sources": ["/x"], "ignored": {}}).write(file)
    images = open_images(file, exclude=["[0-3].png"])
    assert isinstance(images, ManifestFile)
    images.write(f"{tmp_path}/copy.parquet")
    copy = manifest.read(f"{tmp_path}/copy.parquet")
    assert copy.table.equals(rows.slice(4))
    assert copy.settings == {
        "sources": ["/x"],
        "ignored": {"excluded": 4},
        "exclude": ["[0-3].png"],
    }
    assert copy.table.schema == schema.with_more(rows.schema)


def test_sources_that_overlap_are_refused(archive: str, tmp_path: Path) -> None:
    config = IndexConfig(
        sources=(archive, f"{archive}/normal"), output=f"{tmp_path}/m", content=False, split=False
    )
    with pytest.raises(InputError, match=r"0000-x+\.png is in two sources; give sources that"):
        index(config)
    assert not (tmp_path / "m").exists()


def test_no_room_for_the_file_is_one_line(
    archive: str, monkeypatch: pytest.MonkeyPatch, disk: Path
) -> None:
    fill(disk / "ballast")
    monkeypatch.setattr(manifest_file.tempfile, "tempdir", str(disk))
    with pytest.raises(StorageError, match=rf"^{disk}/.* cannot be written: [^\n]*"):
        open_images(archive)
    assert [file.name for file in disk.iterdir()] == ["ballast"]
