"""A manifest that stays in its file says the same of its images as one in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs import schema
from cnnjobs.data import external_sort, manifest, manifest_file
from cnnjobs.data.images import in_pieces
from cnnjobs.data.manifest import Manifest
from cnnjobs.data.manifest_file import ManifestFile
from cnnjobs.data.streamed import open_images
from cnnjobs.errors import InputError, ManifestError

NUM = 1000


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_file, "_ROWS", 64)
    monkeypatch.setattr(external_sort, "RUN_ROWS", 150)
    monkeypatch.setattr(external_sort, "_HEAD_ROWS", 7)


def rows(order: str) -> pa.Table:
    """As many as several pieces have, sorted by path, in two sorted runs, or in no order."""
    rng = np.random.default_rng(1)
    position = {
        "sorted": np.arange(NUM),
        "two sources": np.roll(np.arange(NUM), NUM // 3),
        "any": rng.permutation(NUM),
    }[order]
    table = pa.table(
        {
            "path": [f"/archive/{number:04d} Größe.png" for number in position],
            "label": [("normal", "opacity", None)[number % 3] for number in position],
            "split": [("train", "test", None)[number % 7 % 3] for number in position],
            "size_bytes": [int(number) for number in position],
        }
    )
    return Manifest.from_arrow(table).table


def written(folder: Path, table: pa.Table, **options: Any) -> str:
    """The name of a file with these rows."""
    file = str(folder / "manifest.parquet")
    Manifest(table, {"sources": ["/data"], "ignored": {}}).write(file)
    if options:
        pq.write_table(pq.read_table(file), file, **options)
    return file


@pytest.mark.parametrize("order", ["sorted", "any"])
def test_memory_does_not_grow_with_what_was_read(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, in_order = 60_000, np.arange(60_000)
    monkeypatch.setattr(manifest_file, "_ROWS", 1000)
    monkeypatch.setattr(external_sort, "RUN_ROWS", number)
    monkeypatch.setattr(external_sort, "_HEAD_ROWS", 100)
    if order == "any":
        in_order = np.random.default_rng(0).permutation(in_order)
    random = np.random.default_rng(1)
    names = [f"/{place:06d}-{random.bytes(100).hex()}" for place in in_order]
    table = Manifest.from_arrow(pa.table({"path": names, "size_bytes": in_order})).table
    manifest = open_images(written(tmp_path, table, row_group_size=1000))
    before, most = pa.total_allocated_bytes(), 0

    rows = manifest.rows("all", ["path"])
    for _ in rows if order == "sorted" else external_sort.by_path([table]):
        most = max(most, pa.total_allocated_bytes() - before)

    assert most < table["path"].nbytes / 4


@pytest.mark.parametrize("order", ["sorted", "two sources", "any"])
@pytest.mark.parametrize("group_rows", [1, 100, NUM])
def test_it_has_the_fingerprint_counts_and_rows_of_the_manifest_in_memory(
    order: str, group_rows: int, tmp_path: Path
) -> None:
    file = written(tmp_path, rows(order), row_group_size=group_rows)
    whole, images = manifest.read(file), open_images(file)
    assert isinstance(images, ManifestFile)
    assert images.fingerprint == whole.fingerprint
    assert images.settings == whole.settings
    for split in ("all", "train", "test"):
        assert images.count(split) == whole.count(split) > 0
        found = pa.concat_tables(images.rows(split, ["label", "path"]))
        assert found.equals(whole.select(split).select(["label", "path"]))
    with pytest.raises(ManifestError) as expected:
        whole.count("validation")
    with pytest.raises(ManifestError) as caught:
        images.count("validation")
    assert str(caught.value) == str(expected.value)


def test_its_copy_has_the_same_bytes_even_if_the_file_was_replaced_since(tmp_path: Path) -> None:
    file = written(tmp_path, rows("any"))
    before = Path(file).read_bytes()
    images = open_images(file)
    written(tmp_path, rows("sorted").slice(5))
    images.write(str(tmp_path / "copy.parquet"))
    assert (tmp_path / "copy.parquet").read_bytes() == before
    assert images.count("all") == sum(each.num_rows for each in images.rows("all", ["path"])) == NUM


@pytest.mark.parametrize("order", ["sorted", "any"])
def test_an_image_with_two_rows_is_named(order: str, tmp_path: Path) -> None:
    table = rows(order)
    file = written(tmp_path, pa.concat_tables([table, table.slice(0, 1)]))
    with pytest.raises(ManifestError) as caught:
        open_images(file)
    assert str(caught.value) == f"{file} has two rows of {table['path'][0]}; index it again."


def test_every_image_must_be_below_the_allowed_roots(tmp_path: Path) -> None:
    paths = [f"/archive/{number}.png" for number in range(NUM)]
    paths[-1] = "/elsewhere/image.png"
    table = Manifest.from_arrow(pa.table({"path": paths, "size_bytes": [1] * NUM})).table
    file = written(tmp_path, table)
    assert open_images(file, allowed_root=["/archive", "/elsewhere"]).count("all") == NUM
    with pytest.raises(InputError) as caught:
        open_images(file, allowed_root=["/archive"])
    assert str(caught.value) == (
        f"1 of {NUM} images are not below /archive, for example /elsewhere/image.png; leave them "
        "out of the data, or name their folder with --allowed-root."
    )


def test_an_output_among_its_images_is_refused(tmp_path: Path) -> None:
    folders = [f"/archive/{number}/image.png" for number in range(NUM)]
    table = Manifest.from_arrow(pa.table({"path": folders, "size_bytes": [1] * NUM})).table
    images = open_images(written(tmp_path, table))
    images.check_apart(str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="contains images to be read"):
        images.check_apart("/archive/900")


def test_other_tables_of_images_are_held_in_memory(tmp_path: Path) -> None:
    file = str(tmp_path / "pandas.parquet")
    pq.write_table(rows("any").replace_schema_metadata(None), file)
    assert isinstance(open_images(file), Manifest)


@pytest.mark.parametrize("cut", [0.2, 0.6, 0.99])
def test_damage_is_one_line_wherever_it_is(cut: float, tmp_path: Path) -> None:
    file = Path(written(tmp_path, rows("any"), row_group_size=50))
    data = bytearray(file.read_bytes())
    start = int(cut * len(data))
    data[start : start + 400] = b"\xff" * len(data[start : start + 400])
    file.write_bytes(data)
    with pytest.raises(ManifestError, match=r"^/.* is not a readable Parquet file; index it again"):
        assert open_images(str(file)).fingerprint


def test_a_manifest_on_s3_is_read_in_pieces(s3: str, tmp_path: Path) -> None:
    whole = Manifest(rows("any"), {"sources": []})
    whole.write(f"{s3}/manifest.parquet")
    images = open_images(f"{s3}/manifest.parquet")
    assert isinstance(images, ManifestFile)
    assert images.fingerprint == whole.fingerprint
    images.write(f"{s3}/copy.parquet")
    assert manifest.read(f"{s3}/copy.parquet").table.equals(whole.table)


@pytest.mark.parametrize("sizes", [[], [0], [3], [1, 0, 6], [10], [2, 2, 2, 2]])
@pytest.mark.parametrize("size", [1, 3, 4])
def test_pieces_have_all_rows_in_order(sizes: list[int], size: int) -> None:
    table = pa.table({"number": range(sum(sizes))})
    starts = np.cumsum([0, *sizes])
    tables = [table.slice(start, number) for start, number in zip(starts, sizes, strict=False)]
    pieces = list(in_pieces(tables, size))
    assert [each.num_rows for each in pieces[:-1]] == [size] * (len(pieces) - 1)
    assert [row for each in pieces for row in each["number"].to_pylist()] == list(range(sum(sizes)))
    assert all(each.num_rows for each in pieces)


def test_the_schema_is_that_of_every_manifest(tmp_path: Path) -> None:
    table = rows("any").append_column("sex", pa.array(["F", "M"] * (NUM // 2)))
    file = written(tmp_path, table)
    assert isinstance(open_images(file), ManifestFile)
    other = table.cast(schema.with_more(table.schema)).select(["sex", *schema.MANIFEST.names])
    assert isinstance(open_images(written(tmp_path, other)), Manifest)
