"""Manifests made of tables: what is filled in, split and refused."""

import datetime
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import cnnjobs
from cnnjobs import schema

SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """24 files in the folders of 12 patients."""
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"p{number // 2}" / f"{number:02}.png" for number in range(24)]
    data = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data + b"\0" * number)
    return [str(path) for path in paths]


@pytest.fixture
def frame(images: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": images,
            "label": ["normal", "covid"] * 12,
            "group": [Path(path).parent.name for path in images],
        }
    )


def test_a_table_of_paths_is_enough(images: list[str]) -> None:
    made = cnnjobs.Manifest.from_arrow(pa.table({"path": images}))
    table = made.to_arrow()
    assert table.schema == schema.MANIFEST
    assert table["path"].to_pylist() == table["group"].to_pylist() == images
    sizes = [Path(path).stat().st_size for path in images]
    assert table["size_bytes"].to_pylist() == sizes
    modified = table["modified"][3].as_py()
    changed = datetime.datetime.fromtimestamp(Path(images[3]).stat().st_mtime, datetime.UTC)
    assert abs(modified - changed) < datetime.timedelta(milliseconds=1)
    assert set(table["source"].to_pylist()) == {"table"}
    assert table["label"].null_count == table["split"].null_count == 24


def test_a_written_manifest_is_read_back_and_inspected(frame: pd.DataFrame, tmp_path: Path) -> None:
    made = cnnjobs.Manifest.from_pandas(frame, shares=SHARES, seed=3)
    made.write(tmp_path / "manifest.parquet")
    found = cnnjobs.Manifest.read(str(tmp_path / "manifest.parquet"))
    assert found.table.equals(made.table)
    assert found.settings == made.settings
    assert found.labels == ["covid", "normal"]
    summary = cnnjobs.inspect(data=tmp_path / "manifest.parquet", progress=False)  # type: ignore[call-overload]
    assert isinstance(summary, cnnjobs.DataSummary)
    assert summary.num_images == 24


def test_shares_split_by_group(frame: pd.DataFrame) -> None:
    rows = cnnjobs.Manifest.from_pandas(frame, shares=SHARES, seed=3).to_pandas()
    assert rows.groupby("group")["split"].nunique().tolist() == [1] * 12
    counts = rows["split"].value_counts()
    assert counts.to_dict() == {"train": 12, "validation": 6, "test": 6}
    other = cnnjobs.Manifest.from_pandas(frame, shares=SHARES, seed=4).to_pandas()
    assert not rows["split"].equals(other["split"])


def test_images_without_a_label_get_no_split(frame: pd.DataFrame) -> None:
    frame.loc[:3, "label"] = None
    rows = cnnjobs.Manifest.from_pandas(frame, shares=SHARES).to_pandas()
    assert rows["split"].isna().tolist() == [True] * 4 + [False] * 20


def test_a_manifest_through_pandas_or_arrow_is_the_same(frame: pd.DataFrame) -> None:
    made = cnnjobs.Manifest.from_pandas(frame, shares=SHARES)
    assert cnnjobs.Manifest.from_pandas(made.to_pandas()).table.equals(made.table)
    assert cnnjobs.Manifest.from_arrow(made.to_arrow()).fingerprint == made.fingerprint


def test_numbers_and_categories_are_labels(images: list[str]) -> None:
    for labels in (list(range(24)), pd.Categorical([str(number) for number in range(24)])):
        made = cnnjobs.Manifest.from_pandas(pd.DataFrame({"path": images, "label": labels}))
        assert made.table["label"].to_pylist() == [str(number) for number in range(24)]


def test_the_source_is_the_innermost_folder_of_all_images(images: list[str]) -> None:
    folder = str(Path(images[0]).parents[1])
    for several, root in ((images, folder), (images[:2], f"{folder}/p0")):
        made = cnnjobs.Manifest.from_arrow(pa.table({"path": several}))
        assert made.settings["sources"] == [root]


def test_known_sizes_save_a_look_at_the_files() -> None:
    table = pa.table({"path": ["s3://bucket/a.png", "s3://bucket/b.png"], "size_bytes": [10, 20]})
    made = cnnjobs.Manifest.from_arrow(table)
    assert made.table["size_bytes"].to_pylist() == [10, 20]
    assert made.settings["sources"] == ["s3://bucket"]


COLUMNS = ", ".join(schema.MANIFEST.names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame.rename(columns={"label": "class"}),
            "the table has the column 'class' and no label; rename it to label; a manifest has "
            f"{COLUMNS}, of which path is required.",
        ),
        (
            lambda frame: frame[["label", "group"]],
            f"the table has no path, only label, group; a manifest has {COLUMNS}, of which path "
            "is required.",
        ),
        (
            lambda frame: frame[:0],
            "the table must have at least one row, and a path in each; it has 0 rows, 0 of them "
            "without a path.",
        ),
        (
            lambda frame: frame.assign(path=frame["path"].where(frame.index > 1)),
            "the table must have at least one row, and a path in each; it has 24 rows, 2 of them "
            "without a path.",
        ),
        (
            lambda frame: frame.assign(split="dev"),
            "split must be one of train, validation, test or null, got dev.",
        ),
        (
            lambda frame: frame.assign(width="wide"),
            "column width must be int32, got large_string.",
        ),
    ],
)
def test_a_table_that_is_not_a_manifest_is_refused(
    frame: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(cnnjobs.ManifestError) as raised:
        cnnjobs.Manifest.from_pandas(change(frame))
    assert str(raised.value) == message


def test_a_path_that_is_there_twice_or_whose_file_is_not_is_named(images: list[str]) -> None:
    with pytest.raises(cnnjobs.ManifestError) as raised:
        cnnjobs.Manifest.from_arrow(pa.table({"path": [*images, images[5]]}))
    message = f"{images[5]} is in the table more than once; keep one of its rows."
    assert str(raised.value) == message
    gone = images[0].replace("00.png", "gone.png")
    with pytest.raises(cnnjobs.ManifestError) as raised:
        cnnjobs.Manifest.from_arrow(pa.table({"path": [*images, gone]}))
    assert str(raised.value) == (
        f"1 of 25 files do not exist, {gone} the first; give absolute paths, or leave those rows "
        "out."
    )


def test_files_in_folders_of_similar_names_and_below_each_other_are_found(tmp_path: Path) -> None:
    names = ["a/b/1.png", "a-b/2.png", "a/3.png", "a/b/c/4.png", "ab/5.png"]
    for size, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0" * size)
    paths = [str(tmp_path / name) for name in names]
    manifest = cnnjobs.Manifest.from_arrow(pa.table({"path": paths}))
    assert manifest.table["size_bytes"].to_pylist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shares", [{"train": 0.5, "dev": 0.5}, {"train": 0.9, "test": 0.2}])
def test_shares_that_are_not_of_splits_or_do_not_add_up_are_refused(
    frame: pd.DataFrame, shares: dict[str, float]
) -> None:
    with pytest.raises(cnnjobs.ManifestError) as raised:
        cnnjobs.Manifest.from_pandas(frame, shares=shares)
    assert str(raised.value) == (
        f"shares must be of train, validation, test and add up to 1, got {shares}."
    )


def test_too_few_groups_for_the_splits_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(cnnjobs.InputError, match=r"add images, or leave shares out\.$"):
        cnnjobs.Manifest.from_pandas(frame[:4], shares=SHARES)
