import dataclasses

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from cnnjobs import schema
from cnnjobs.cli.index import index_text
from cnnjobs.config import IndexConfig
from cnnjobs.data import manifest
from cnnjobs.data.index import index, plan
from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import ConfigError, InputError, RunExistsError, StorageError
from cnnjobs.storage import filesystem


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """10 drawings of each of two classes, a copy, a broken file, a text and one without label."""
    folder = tmp_path_factory.mktemp("tree") / "xrays"
    for number in range(20):
        path = folder / ("normal", "opacity")[number % 2] / f"p{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = phantom(np.random.default_rng(number), height=72, width=80, opacity=False)
        cv2.imwrite(str(path), pixels)
    (folder / "opacity/copy.png").write_bytes((folder / "normal/p00.png").read_bytes())
    (folder / "normal/empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("x")
    alone = phantom(np.random.default_rng(99), height=72, width=80, opacity=False)
    cv2.imwrite(str(folder / "alone.png"), alone)
    return folder


def _config(tree, output, **settings):
    return IndexConfig(sources=(str(tree),), output=str(output), **settings)


def _rows(uri):
    return manifest.read(str(uri)).table.to_pylist()


def test_an_index_is_a_manifest_that_its_summary_describes(tree, tmp_path):
    summary = index(_config(tree, tmp_path / "m.parquet"))
    found = manifest.read(f"{tmp_path}/m.parquet")
    assert dataclasses.asdict(summary) == {
        "manifest": f"{tmp_path}/m.parquet",
        "fingerprint": found.fingerprint,
        "num_images": 23,
        "num_unlabelled": 1,
        "num_groups": 21,
        "counts": summary.counts,
        "sources": {"xrays": {"normal": 10, "opacity": 11}},
        "warnings": [],
        "unreadable": {f"{tree}/normal/empty.png": "empty: the file has no bytes"},
        "ignored": {".txt": 1},
        "left_out": {},
        "num_exact_copies": 1,
        "num_near_copies": 0,
        "mixed_labels": [(f"{tree}/normal/p00.png", f"{tree}/opacity/copy.png")],
        "update": None,
        "table": None,
    }
    assert found.table.num_rows == 23


def test_counts_are_those_of_each_class_and_split(tree, tmp_path):
    counts = index(_config(tree, tmp_path / "m.parquet")).counts
    assert {label: sum(states.values()) for label, states in counts.items()} == {
        "normal": 11,
        "opacity": 11,
    }
    assert set(counts["normal"]) == {"train", "validation", "test", "unreadable"}
    assert counts["normal"]["unreadable"] == 1
    assert set(counts["opacity"]) == {"train", "validation", "test"}
    rows = _rows(tmp_path / "m.parquet")
    training = [row for row in rows if (row["label"], row["split"]) == ("opacity", "train")]
    assert counts["opacity"]["train"] == len(training)


def test_shares_are_those_of_the_settings(tree, tmp_path):
    summary = index(_config(tree, tmp_path / "m.parquet", validation=0.0, test=0.5))
    assert set(summary.counts["opacity"]) == {"train", "test"}
    shares = manifest.read(summary.manifest).settings["shares"]
    assert shares == {"train": 0.5, "validation": 0.0, "test": 0.5}


def test_without_split_there_is_none(tree, tmp_path):
    summary = index(_config(tree, tmp_path / "m.parquet", split=False))
    assert summary.counts["opacity"] == {"no split": 11}
    assert {row["split"] for row in _rows(summary.manifest)} == {None}
    assert manifest.read(summary.manifest).settings["shares"] is None


def test_without_content_no_file_is_opened(tree, tmp_path):
    summary = index(_config(tree, tmp_path / "m.parquet", content=False))
    assert (summary.unreadable, summary.num_exact_copies, summary.num_groups) == ({}, 0, 23)
    assert {row["content_hash"] for row in _rows(summary.manifest)} == {None}


def test_without_labels_there_is_no_class(tree, tmp_path):
    summary = index(_config(tree, tmp_path / "m.parquet", labels=False))
    assert (summary.num_unlabelled, summary.counts) == (23, {})
    assert summary.mixed_labels == []


def test_one_class_alone_is_indexed(tree, tmp_path):
    summary = index(_config(tree / "normal", tmp_path / "m.parquet"))
    assert (summary.num_unlabelled, summary.counts) == (11, {})


def test_two_sources_make_one_manifest(tree, tmp_path):
    (tmp_path / "more/normal").mkdir(parents=True)
    (tmp_path / "more/normal/x.png").write_bytes((tree / "alone.png").read_bytes())
    config = IndexConfig(sources=(str(tree), f"{tmp_path}/more"), output=f"{tmp_path}/m.parquet")
    summary = index(config)
    assert summary.num_images == 24
    assert {row["source"] for row in _rows(summary.manifest)} == {"xrays", "more"}


def test_an_output_without_a_parquet_suffix_is_a_folder(tree, tmp_path):
    summary = index(_config(tree, tmp_path / "new/folder", content=False))
    assert summary.manifest == f"{tmp_path}/new/folder/manifest.parquet"
    assert pq.read_schema(summary.manifest).remove_metadata().equals(schema.MANIFEST)


@pytest.mark.parametrize("output", ["m.parquet", "folder"])
def test_an_existing_manifest_is_kept_by_default(tree, tmp_path, output):
    first = index(_config(tree, tmp_path / output, content=False))
    before = filesystem.read_bytes(first.manifest)
    for run in (index, plan):
        with pytest.raises(RunExistsError) as caught:
            run(_config(tree, tmp_path / output, seed=1))
        assert str(caught.value) == (
            f"{first.manifest} already exists; add --update or --overwrite, or choose another name."
        )
    assert filesystem.read_bytes(first.manifest) == before
    index(_config(tree, tmp_path / output, content=False, seed=1, overwrite=True))
    assert filesystem.read_bytes(first.manifest) != before


def test_a_failed_index_writes_nothing(tree, tmp_path):
    (tmp_path / "few/normal").mkdir(parents=True)
    (tmp_path / "few/normal/a.png").write_bytes((tree / "alone.png").read_bytes())
    with pytest.raises(InputError) as caught:
        index(_config(tmp_path / "few", tmp_path / "new/m.parquet"))
    assert str(caught.value) == (
        "class normal has 1 images in 1 groups; 3 splits need at least 3 groups; "
        "add images, or index with --no-split."
    )
    assert not (tmp_path / "new").exists()


def test_a_missing_source_is_an_error(tmp_path):
    with pytest.raises(StorageError) as caught:
        index(_config(tmp_path / "gone", tmp_path / "m.parquet"))
    assert str(caught.value) == f"{tmp_path}/gone does not exist."


def test_an_output_under_a_file_is_refused_before_the_images_are_read(tree, tmp_path):
    (tmp_path / "file").write_text("x")
    told = []
    with pytest.raises(StorageError):
        index(_config(tree, tmp_path / "file/m.parquet"), lambda *report: told.append(report))
    assert told == []


def test_the_same_index_twice_is_the_same_file(tree, tmp_path):
    first = index(_config(tree, tmp_path / "one.parquet"))
    second = index(_config(tree, tmp_path / "two.parquet"))
    assert filesystem.read_bytes(first.manifest) == filesystem.read_bytes(second.manifest)
    assert dataclasses.replace(second, manifest=first.manifest) == first


def test_a_plan_counts_the_listing_and_writes_nothing(tree, tmp_path):
    assert plan(_config(tree, tmp_path / "new/m.parquet")) == {
        "images": 23,
        "labels": {"no label": 1, "normal": 11, "opacity": 11},
        "ignored files": {".txt": 1},
        "warnings": [],
        "update": None,
        "output": f"{tmp_path}/new/m.parquet",
    }
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("regex", "number"), [("p[0-9]+", 0), ("(p)([0-9]+)", 2)])
def test_a_regex_without_exactly_one_group_is_a_config_error(regex, number):
    with pytest.raises(ConfigError) as caught:
        _config("xrays", "m.parquet", group_regex=regex)
    assert str(caught.value) == (
        f"group_regex must have one (group) that captures the patient, got {number} in {regex!r}."
    )


def test_a_source_regex_without_a_group_is_a_config_error():
    with pytest.raises(ConfigError) as caught:
        _config("xrays", "m.parquet", source_regex="site")
    assert str(caught.value) == (
        "source_regex must have one (group) that captures the source, got 0 in 'site'."
    )


def test_sources_are_counted_by_class_and_one_with_a_single_class_is_a_warning(tree, tmp_path):
    summary = index(_config(tree, tmp_path / "m.parquet", source_regex="(normal|opacity|alone)"))
    assert summary.sources == {"normal": {"normal": 10}, "opacity": {"opacity": 11}}
    lines = index_text(summary).splitlines()
    assert "source   normal  opacity" in lines
    assert "normal       10        0" in lines
    assert [line[:38] for line in lines if line.startswith("warning")] == [
        "warning: source normal has only normal",
        "warning: source opacity has only opaci",
    ]


def test_a_broken_regex_is_a_config_error():
    with pytest.raises(ConfigError) as caught:
        _config("xrays", "m.parquet", group_regex="(p")
    assert str(caught.value).startswith("group_regex is not a regular expression: ")


def test_an_index_from_s3_to_s3(tree, s3):
    for path in sorted(tree.rglob("*.png")):
        filesystem.write_bytes(f"{s3}/xrays/{path.relative_to(tree)}", path.read_bytes())
    config = _config(f"{s3}/xrays", f"{s3}/out/m.parquet")
    summary = index(config)
    assert (summary.num_images, summary.num_exact_copies) == (23, 1)
    assert summary.manifest == f"{s3}/out/m.parquet"
    assert manifest.read(summary.manifest).fingerprint == summary.fingerprint
    assert filesystem.names(f"{s3}/out") == ["m.parquet"]
    with pytest.raises(RunExistsError):
        index(config)
    index(dataclasses.replace(config, overwrite=True))


def test_a_short_group_key_is_refused_with_the_way_to_make_one(tmp_path, archive):
    key = tmp_path / "key"
    key.write_bytes(b"secret")

    with pytest.raises(InputError) as refused:
        index(
            IndexConfig(sources=(str(archive),), output=f"{tmp_path}/m.parquet", group_key=str(key))
        )

    assert str(refused.value) == (
        f"group_key {key} must be a file of at least 32 bytes; create one with "
        f"head -c 32 /dev/urandom > {key}."
    )
