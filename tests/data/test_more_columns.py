"""Columns that a manifest has beside its own: age, sex, scanner."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs.config import IndexConfig
from cnnjobs.data import manifest
from cnnjobs.data.exclude import without
from cnnjobs.data.index import index
from cnnjobs.data.manifest import Manifest
from cnnjobs.data.sources import open_data
from cnnjobs.errors import InputError, ManifestError
from tests.support.label_tables import touch


@pytest.fixture
def folder(tmp_path):
    """A table of 12 images and their empty files."""
    add(tmp_path, range(12))
    return tmp_path


def add(folder, numbers, **changes):
    """Write the table of these images, and those of their files that are missing."""
    lines = ["file,finding,patient,age,set"]
    for number in numbers:
        touch(folder / f"images/{number:02d}.png")
        row = {
            "file": f"{number:02d}.png", "finding": "ab"[number % 2], "patient": f"p{number // 2}",
            "age": 30 + number, "set": "test" if number % 4 < 2 else "train",
        } | changes.get(f"n{number}", {})  # fmt: skip
        lines.append(",".join(map(str, row.values())))
    (folder / "t.csv").write_text("\n".join(lines) + "\n")


def run(folder, **settings):
    return index(
        IndexConfig(
            sources=(f"{folder}/images",), output=f"{folder}/m.parquet", table=(f"{folder}/t.csv",),
            content=False, validation=0.25, **settings,
        )
    )  # fmt: skip


def rows(folder):
    return {
        row["path"][-6:-4]: row for row in manifest.read(f"{folder}/m.parquet").table.to_pylist()
    }


def test_they_survive_writing_splits_selection_and_exclusion(folder):
    run(folder)
    found = manifest.read(f"{folder}/m.parquet")
    assert found.table["age"].type == pa.int64()
    assert set(found.select("test")["age"].to_pylist()) == {30, 31, 34, 35, 38, 39}
    kept = without(found, ["0*.png"], "m")
    assert kept.table["age"].to_pylist() == [40, 41]
    manifest.write(kept, f"{folder}/k.parquet")
    assert open_data(f"{folder}/k.parquet").table["age"].to_pylist() == [40, 41]


def test_an_update_reads_the_table_again(folder):
    run(folder)
    before = rows(folder)
    add(folder, range(16), n3={"age": 99, "finding": "a"}, n15={"patient": "p1"})
    summary = run(folder, update=True)
    after = rows(folder)
    assert summary.update == {"new": 4, "changed": 0, "again": 0, "gone": 0, "unchanged": 12}
    assert [after[f"{n:02d}"]["age"] for n in (0, 3, 12, 15)] == [30, 99, 42, 45]
    assert after["03"]["label"] == "a"
    assert after["15"]["group"] == after["02"]["group"] == "p1"
    # what was drawn from the table's training images stays, and new ones of the patient join it
    assert {n: row["split"] for n, row in before.items()} == {n: after[n]["split"] for n in before}
    assert after["15"]["split"] == after["02"]["split"]
    assert after["12"]["split"] == "test"
    assert list(after["15"]) == list(before["00"])


def test_an_update_gives_unreadable_images_no_split_and_keeps_sources(folder):
    settings = {
        "sources": (f"{folder}/images",), "output": f"{folder}/m.parquet",
        "table": (f"{folder}/t.csv",), "source_regex": r"^(\d)",
    }  # fmt: skip
    index(IndexConfig(**settings))
    add(folder, range(16))
    index(IndexConfig(**settings, update=True))
    # the files are empty
    assert {row["split"] for row in rows(folder).values()} == {None}
    assert {name[0]: row["source"] for name, row in rows(folder).items()} == {"0": "0", "1": "1"}


def test_an_update_without_changes_changes_nothing(folder):
    run(folder)
    before = (folder / "m.parquet").read_bytes()
    run(folder, update=True)
    assert (folder / "m.parquet").read_bytes() == before


def test_an_update_with_a_patient_on_both_sides_is_refused(folder):
    run(folder)
    add(folder, range(13), n12={"patient": "p0", "set": "train"})
    with pytest.raises(InputError, match=r"^1 of 6 patients \(groups\) have images in more than"):
        run(folder, update=True)


def test_an_update_with_other_conditions_is_refused(folder):
    run(folder)
    with pytest.raises(InputError, match=r"where of the table was None, is age > 30\); "):
        run(folder, update=True, where="age > 30")


def test_a_manifest_joined_in_pandas_is_a_manifest(folder):
    run(folder)
    frame = pd.read_parquet(folder / "m.parquet")
    more = pd.DataFrame({"path": frame["path"], "scanner": ["x", "y"] * 6})
    joined = frame.merge(more, on="path").query("age > 31")
    joined.to_parquet(folder / "j.parquet")
    assert b"cnnjobs" not in pq.read_schema(folder / "j.parquet").metadata
    found = manifest.read(f"{folder}/j.parquet")
    assert found.table["scanner"].to_pylist() == ["x", "y"] * 5
    assert found.table["split"].to_pylist() == joined["split"].tolist()
    assert found.table["width"].null_count == 10
    assert found.settings["sources"] == [f"{folder}/images"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: pd.concat([frame, frame[:1]]),
            "{file}: {path} is in the table more than once; keep one of its rows.",
        ),
        (
            lambda frame: frame.assign(split="dev"),
            "{file}: split must be one of train, validation, test or null, got dev.",
        ),
        (
            lambda frame: frame.drop(columns="label"),
            "{file} is a Parquet file but not a manifest, it has no column label; create one with "
            "cnnjobs index IMAGES --table {file}.",
        ),
    ],
)
def test_a_joined_table_that_is_no_manifest_says_what_is_wrong(folder, change, message):
    run(folder)
    frame = pd.read_parquet(folder / "m.parquet")
    file = f"{folder}/j.parquet"
    change(frame).to_parquet(file)
    with pytest.raises(ManifestError) as caught:
        manifest.read(file)
    assert str(caught.value) == message.format(file=file, path=frame["path"][0])


def test_a_frame_with_more_columns_makes_a_manifest(folder):
    paths = [f"{folder}/images/{number:02d}.png" for number in range(12)]
    frame = pd.DataFrame({"path": paths, "label": ["a", "b"] * 6, "age": range(12)})
    made = Manifest.from_pandas(frame, shares={"train": 0.5, "test": 0.5})
    made.write(folder / "p.parquet")
    assert manifest.read(f"{folder}/p.parquet").table["age"].to_pylist() == [*range(12)]


def test_a_manifest_without_more_columns_is_written_as_before(folder):
    config = IndexConfig(
        sources=(f"{folder}/images",), output=f"{folder}/n.parquet", content=False, split=False
    )
    index(config)
    from cnnjobs import schema

    assert pq.read_schema(f"{folder}/n.parquet").remove_metadata().equals(schema.MANIFEST)
    assert "table" not in manifest.read(f"{folder}/n.parquet").settings
