import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs import schema
from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import ManifestError

SETTINGS = {"sources": ["/data/xräys"], "seed": 3, "shares": {"train": 0.7}, "groups": None}


def _row(name, **changes):
    row = {
        "path": f"/data/{name}",
        "label": "normal",
        "source": "data",
        "size_bytes": 1234,
        "modified": datetime.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=datetime.UTC),
        "etag": None,
        "group": f"data/{name}",
        "split": "train",
        "content_hash": "ab" * 32,
        "perceptual_hash": None,
        "width": 300,
        "height": 200,
        "error": None,
    }
    return {**row, **changes}


ROWS = [
    _row("b.png", label="opacity", split="test"),
    _row("a.png", etag="0123"),
    _row("c.png", label=None, split=None),
    _row("d.png", split=None, width=None, height=None, error="empty: the file has no bytes"),
    _row("e.png", split="validation"),
]


def _manifest(rows=ROWS):
    return Manifest(pa.Table.from_pylist(rows, schema=schema.MANIFEST), SETTINGS)


def _changed(position, **changes):
    rows = [dict(row) for row in ROWS]
    rows[position].update(changes)
    return _manifest(rows)


def _written(path):
    manifest.write(_manifest(), str(path))
    return pq.read_table(path)


def _error(uri):
    with pytest.raises(ManifestError) as caught:
        manifest.read(str(uri))
    return str(caught.value)


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "manifest.parquet"
    manifest.write(_manifest(), str(file))
    found = manifest.read(str(file))
    assert found.table.schema.equals(schema.MANIFEST)
    assert found.table.to_pylist() == ROWS
    assert found.settings == SETTINGS
    assert found.fingerprint == _manifest().fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.parquet"]


def test_a_manifest_of_no_rows_is_read_as_it_was_written(tmp_path):
    manifest.write(_manifest([]), str(tmp_path / "m.parquet"))
    assert manifest.read(str(tmp_path / "m.parquet")).table.num_rows == 0


def test_a_manifest_is_read_from_s3(s3):
    manifest.write(_manifest(), f"{s3}/m.parquet")
    assert manifest.read(f"{s3}/m.parquet").table.to_pylist() == ROWS


def test_any_parquet_reader_sees_the_schema(tmp_path):
    table = _written(tmp_path / "m.parquet")
    assert table.schema.remove_metadata().equals(schema.MANIFEST)
    info = json.loads(table.schema.metadata[b"cnnjobs"])
    assert info == {"manifest_version": schema.MANIFEST_VERSION, "settings": SETTINGS}


def test_pandas_reads_a_manifest(tmp_path):
    _written(tmp_path / "m.parquet")
    frame = pd.read_parquet(tmp_path / "m.parquet")
    assert frame["path"].tolist() == [row["path"] for row in ROWS]
    assert frame["modified"].iloc[0].to_pydatetime() == ROWS[0]["modified"]
    assert frame["label"].isna().tolist() == [False, False, True, False, False]
    assert frame.groupby("split")["path"].count().to_dict() == {
        "test": 1,
        "train": 1,
        "validation": 1,
    }


def test_the_same_manifest_gives_the_same_file(tmp_path):
    for name in ("one", "two"):
        manifest.write(_manifest(), str(tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_fingerprint_is_16_hex_digits():
    assert len(_manifest().fingerprint) == 16
    assert int(_manifest().fingerprint, 16) > 0


def test_the_fingerprint_does_not_change_with_the_order_of_rows():
    rng = np.random.default_rng(0)
    shuffled = [[ROWS[position] for position in rng.permutation(len(ROWS))] for _ in range(5)]
    assert {_manifest(rows).fingerprint for rows in shuffled} == {_manifest().fingerprint}


@pytest.mark.parametrize(
    "change",
    [
        {"label": "opacity"},
        {"label": None},
        {"split": "test"},
        {"split": None},
        {"group": "data/other"},
        {"content_hash": "cd" * 32},
        {"path": "/data/z.png"},
        {"size_bytes": 1235},
        {"etag": "0124"},
        {"modified": ROWS[0]["modified"] + datetime.timedelta(microseconds=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_fingerprint_changes_with_any_image_label_group_or_split(change):
    assert _changed(1, **change).fingerprint != _manifest().fingerprint


def test_the_fingerprint_does_not_change_with_the_machine():
    assert _manifest().fingerprint == "56f622e9ea80edda"


def test_the_fingerprint_distinguishes_null_from_empty_text_and_one_column_from_the_next():
    prints = [
        _changed(1, etag=etag, content_hash=hashed).fingerprint
        for etag, hashed in [(None, ""), ("", None), ("", ""), ("a 1 b", ""), ("a", "b")]
    ]
    assert len(set(prints)) == len(prints)


def test_the_fingerprint_changes_with_a_row_more_or_less():
    prints = {_manifest(ROWS[:end]).fingerprint for end in range(1, len(ROWS) + 1)}
    assert len(prints) == len(ROWS)


def test_labels_are_those_that_occur_sorted():
    assert _manifest().labels == ["normal", "opacity"]
    assert _manifest(ROWS[2:3]).labels == []


def test_a_split_is_selected_in_the_order_of_the_manifest():
    rows = [_row("d", split="test"), _row("a", split="train"), _row("c", split="test")]
    selected = _manifest(rows).select("test")
    assert selected["path"].to_pylist() == ["/data/d", "/data/c"]
    assert selected.schema.equals(schema.MANIFEST)


def test_all_selects_every_row():
    assert _manifest().select("all").to_pylist() == ROWS


def test_a_split_without_images_is_an_error():
    with pytest.raises(ManifestError) as caught:
        _manifest(ROWS[1:4]).select("test")
    assert str(caught.value) == (
        "the manifest has no images in split test (it has 1 in train, 2 in no split); "
        "index labelled images with splits, or choose another split."
    )


def test_a_manifest_without_rows_has_none_to_select():
    with pytest.raises(ManifestError) as caught:
        _manifest([]).select("all")
    assert str(caught.value) == (
        "the manifest has no images in split all (it has no rows); "
        "index labelled images with splits, or choose another split."
    )


def test_a_missing_manifest_is_an_error(tmp_path):
    assert _error(tmp_path / "m.parquet") == f"{tmp_path}/m.parquet does not exist."


def test_a_missing_manifest_on_s3_is_an_error(s3):
    assert _error(f"{s3}/m.parquet") == f"{s3}/m.parquet does not exist."


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"PAR1 and no more PAR1"])
def test_a_file_that_is_not_parquet_is_an_error(content, tmp_path):
    file = tmp_path / "m.parquet"
    file.write_bytes(content)
    assert _error(file) == f"{file} is not a readable Parquet file; index it again."


def test_a_manifest_cut_anywhere_is_an_error(tmp_path):
    file = tmp_path / "m.parquet"
    _written(file)
    whole = file.read_bytes()
    for end in range(0, len(whole), 97):
        file.write_bytes(whole[:end])
        assert _error(file) == f"{file} is not a readable Parquet file; index it again."


def test_other_parquet_files_are_no_manifests(tmp_path):
    file = tmp_path / "m.parquet"
    pq.write_table(pa.table({"path": ["a.png"]}), file)
    assert _error(file) == (
        f"{file} is a Parquet file but not a manifest, it has no column label; create one with "
        f"cnnjobs index IMAGES --table {file}."
    )


@pytest.mark.parametrize("version", [0, 2, None])
def test_another_schema_version_is_an_error(version, tmp_path):
    file = tmp_path / "m.parquet"
    info = json.dumps({"manifest_version": version, "settings": {}})
    pq.write_table(_manifest().table.replace_schema_metadata({"cnnjobs": info}), file)
    assert _error(file) == (
        f"{file} is a manifest of schema version {version}, this cnnjobs reads version 1; "
        "index it again."
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns("split"),
        lambda table: table.rename_columns({"label": "class"}),
        lambda table: table.set_column(1, "label", pa.array([[1]] * table.num_rows)),
    ],
    ids=["a column less", "another name", "another type"],
)
def test_other_columns_than_a_manifests_are_an_error(change, tmp_path):
    file = tmp_path / "m.parquet"
    table = _written(file)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), file)
    assert _error(file) == f"{file} does not have the columns of a manifest; index it again."


def test_a_manifest_behind_a_wrong_secret_is_not_called_damaged(s3, s3_environment):
    manifest.write(_manifest(), f"{s3}/m.parquet")
    s3_environment(AWS_SECRET_ACCESS_KEY="not-the-secret")
    with pytest.raises(Exception, match="refuses the secret key") as caught:
        manifest.read(f"{s3}/m.parquet")
    assert "index it again" not in str(caught.value)


def test_a_folder_in_place_of_a_manifest_is_not_called_damaged(tmp_path):
    folder = Path(tmp_path, "m.parquet")
    folder.mkdir()
    with pytest.raises(Exception, match="it is a folder, not a file") as caught:
        manifest.read(str(folder))
    assert "index it again" not in str(caught.value)


# changes since


def _compared(old, new):
    return manifest.changes(_manifest(old).table, _manifest(new).table)


def test_changes_list_new_changed_and_gone_paths_in_order():
    old = [_row("gone"), _row("same"), _row("grown"), _row("also gone")]
    new = [_row("new 2"), _row("grown", size_bytes=1235), _row("same"), _row("new 1")]
    found = _compared(old, new)
    assert found.new.to_pylist() == ["/data/new 2", "/data/new 1"]
    assert found.changed.to_pylist() == ["/data/grown"]
    assert found.gone.to_pylist() == ["/data/gone", "/data/also gone"]
    assert found.new.type == pa.string()


LATER = ROWS[0]["modified"] + datetime.timedelta(seconds=1)


@pytest.mark.parametrize(
    ("before", "after", "is_changed"),
    [
        ({}, {}, False),
        ({}, {"size_bytes": 1}, True),
        ({}, {"modified": LATER}, True),
        ({"modified": None}, {"modified": None}, False),
        ({"modified": None}, {}, True),
        ({"etag": "a"}, {"etag": "a"}, False),
        ({"etag": "a"}, {"etag": "b"}, True),
        ({"etag": "a"}, {"etag": "a", "modified": LATER}, False),
        ({"etag": "a"}, {"etag": "a", "size_bytes": 1}, True),
        ({"etag": "a"}, {"etag": None}, False),
        ({"etag": "a"}, {"etag": None, "modified": LATER}, True),
        ({"label": "a", "split": "test"}, {"label": "b", "split": None}, False),
    ],
)
def test_a_file_is_another_by_size_and_etag_or_time(before, after, is_changed):
    found = _compared([_row("a", **before)], [_row("a", **after)])
    assert found.changed.to_pylist() == ["/data/a"] * is_changed
    assert len(found.new) == len(found.gone) == 0


def test_changes_between_empty_listings_are_none():
    assert _compared([], []).new.to_pylist() == []
    assert _compared([], [_row("a")]).new.to_pylist() == ["/data/a"]
    assert _compared([_row("a")], []).gone.to_pylist() == ["/data/a"]


def test_changes_of_many_rows_are_all_found():
    old = [_row(f"{number:05d}") for number in range(20_000)]
    new = [_row(f"{number:05d}", size_bytes=number % 3) for number in range(100, 20_100)]
    old = [{**row, "size_bytes": int(row["path"][-5:]) % 3} for row in old]
    for row in new[::1000]:
        row["size_bytes"] += 1
    found = _compared(old, new)
    assert (len(found.new), len(found.gone)) == (100, 100)
    assert found.changed.to_pylist() == [row["path"] for row in new[::1000]]
