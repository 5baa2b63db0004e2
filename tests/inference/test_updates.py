"""`--update`: what becomes of labels, splits, gone images, the CSV file and the estimate."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from cnnjobs.config import PredictConfig
from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import ConfigError, RunExistsError
from cnnjobs.inference.estimate import estimate
from cnnjobs.inference.predict import PredictSummary, predict
from tests.support import archives
from tests.support.prediction_runs import by_path, check_record

pytestmark = pytest.mark.usefixtures("all_alone")

SETTINGS: dict[str, Any] = {"batch_size": 4, "rows_per_file": 16}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "bundle"
    archives.write_bundle(str(folder))
    return folder


@pytest.fixture
def unscored(tmp_path: Path) -> Path:
    """A folder with an archive of 40 images, half of them in each of two classes."""
    archives.write_archive(tmp_path / "archive", 40)
    return tmp_path


@pytest.fixture(scope="module")
def before(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder, scored, under another name than its run has recorded."""
    folder = tmp_path_factory.mktemp("scored") / "now"
    folder.mkdir()
    archives.write_archive(folder / "archive", 40)
    score(bundle, folder)
    return folder.rename(folder.with_name("before"))


@pytest.fixture
def folder(before: Path) -> Iterator[Path]:
    """A copy of it under the right name, for a test that changes it."""
    now = before.with_name("now")
    shutil.copytree(before, now)
    yield now
    shutil.rmtree(now)


def score(bundle: Path, folder: Path, data: str = "archive", **settings: Any) -> PredictSummary:
    return predict(settings_of(bundle, folder, data, **settings))


def settings_of(bundle: Path, folder: Path, data: str = "archive", **settings: Any) -> Any:
    return PredictConfig(
        bundle=str(bundle),
        data=str(folder / data),
        output=str(folder / "run"),
        **{**SETTINGS, **settings},
    )


def write_manifest(folder: Path, **columns: list[str | None]) -> list[str]:
    """Write a manifest of all images with these columns; returns their paths."""
    paths = sorted(map(str, (folder / "archive").glob("*/*")))
    table = pa.table({"path": paths, **{name: pa.array(columns[name]) for name in columns}})
    Manifest.from_arrow(table).write(folder / "manifest.parquet")
    return paths


def raw(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows by path with all columns."""
    rows = pq.read_table(folder / "run" / "predictions", partitioning=None).to_pylist()
    return {row["path"]: row for row in rows}


def same_as_parts(folder: Path) -> bool:
    """Whether the CSV file has the paths and labels of the parts."""
    table = pacsv.read_csv(
        folder / "run" / "predictions.csv",
        convert_options=pacsv.ConvertOptions(
            column_types={"label": pa.string()}, strings_can_be_null=True
        ),
    )
    rows = by_path(folder)
    csv = zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True)
    return sorted(csv) == sorted((path, row["label"]) for path, row in rows.items())


@pytest.mark.parametrize("partition_by", [None, "label", "prefix"])
def test_new_labels_are_taken_in_without_scoring_again(
    bundle: Path, unscored: Path, partition_by: str | None
) -> None:
    classes = ["dark", "bright"]
    paths = write_manifest(unscored, label=classes * 20)
    score(bundle, unscored, "manifest.parquet", partition_by=partition_by, csv=True)
    before = raw(unscored)
    labels = [*reversed(classes), "another model's", None, *classes * 18]
    write_manifest(unscored, label=labels)

    summary = score(bundle, unscored, "manifest.parquet", partition_by=partition_by, update=True)

    assert summary.update == {"new": 0, "changed": 0, "again": 0, "relabelled": 4, "gone": 0}
    assert (summary.scored, summary.skipped, summary.already_finished) == (0, 40, False)
    known = [label if label in classes else None for label in labels]
    after = raw(unscored)
    assert [after[path]["label"] for path in paths] == known
    # with the time, at which each was scored
    assert [{**after[path], "label": None} for path in paths] == [
        {**before[path], "label": None} for path in paths
    ]
    if partition_by == "label":
        for part in (unscored / "run" / "predictions").rglob("*.parquet"):
            (label,) = set(pq.read_table(part, partitioning=None)["label"].to_pylist())
            assert part.parent.name == f"folder={'no_label' if label is None else f'label_{label}'}"
    assert same_as_parts(unscored)
    check_record(unscored)
    assert score(
        bundle, unscored, "manifest.parquet", partition_by=partition_by, update=True
    ).already_finished
    assert score(
        bundle, unscored, "manifest.parquet", partition_by=partition_by, resume=True
    ).already_finished


def test_images_that_enter_a_split_are_scored_and_those_that_leave_it_are_gone(
    bundle: Path, unscored: Path
) -> None:
    paths = write_manifest(unscored, split=["test", "train"] * 20)
    score(bundle, unscored, "manifest.parquet", split="test")
    write_manifest(unscored, split=["train", "test"] + ["test", "train"] * 19)
    settings = {"data": "manifest.parquet", "split": "test", "update": True}

    summary = score(bundle, unscored, **settings)

    assert summary.update == {"new": 1, "changed": 0, "again": 0, "relabelled": 0, "gone": 1}
    assert set(by_path(unscored)) == {paths[0], paths[1], *paths[2::2]}
    check_record(unscored)
    summary = score(bundle, unscored, **settings, gone="drop")
    assert summary.update == {"new": 0, "changed": 0, "again": 0, "relabelled": 0, "gone": 1}
    assert set(by_path(unscored)) == {paths[1], *paths[2::2]}
    check_record(unscored)


def test_splits_that_change_no_row_are_still_taken_in(bundle: Path, unscored: Path) -> None:
    write_manifest(unscored, split=["test", "train"] * 20)
    score(bundle, unscored, "manifest.parquet")
    write_manifest(unscored, split=["train", "test"] * 20)

    assert score(bundle, unscored, "manifest.parquet", update=True).scored == 0

    splits = pq.read_table(unscored / "run" / "manifest.parquet")["split"].to_pylist()
    assert splits == ["train", "test"] * 20
    assert score(bundle, unscored, "manifest.parquet", resume=True).already_finished


@pytest.mark.parametrize("policy", ["keep", "mark", "drop"])
def test_rows_of_gone_images_are_kept_marked_or_dropped(
    bundle: Path, folder: Path, policy: str
) -> None:
    began = datetime.now(UTC)
    gone, *_ = archive = sorted((folder / "archive").glob("*/*"))
    before = by_path(folder)
    gone.rename(folder / "taken away.png")

    summary = score(bundle, folder, update=True, gone=policy)

    assert summary.update is not None
    assert summary.update["gone"] == 1
    rows = by_path(folder)
    if policy == "drop":
        assert set(rows) == set(map(str, archive[1:]))
    else:
        marked = rows[str(gone)].pop("gone_at")
        before[str(gone)].pop("gone_at")
        assert rows == before
        assert (marked is None) == (policy == "keep")
        assert policy == "keep" or began < marked < datetime.now(UTC)
    check_record(folder)
    # told once, and done once
    marks = raw(folder)
    assert score(bundle, folder, update=True, gone=policy).already_finished
    assert raw(folder) == marks


def test_images_in_a_folder_that_cannot_be_listed_are_not_gone(bundle: Path, folder: Path) -> None:
    before = by_path(folder)
    before_update = manifest.read(f"{folder}/run/manifest.parquet")
    hidden = f"{folder}/archive/normal"
    settings = {**before_update.settings, "unlisted": [hidden]}
    listed = pc.invert(pc.starts_with(before_update.table["path"], f"{hidden}/"))
    manifest.write(Manifest(before_update.table.filter(listed), settings), f"{folder}/now.parquet")
    data = f"{folder}/now.parquet"

    summary = score(bundle, folder, data=data, update=True, gone="drop")

    assert summary.update is not None
    assert summary.update["gone"] == 0
    assert by_path(folder) == before
    now = manifest.read(f"{folder}/run/manifest.parquet")
    assert set(now.table["path"].to_pylist()) == set(before)


def test_an_image_that_comes_back_is_no_longer_marked(bundle: Path, folder: Path) -> None:
    image = min((folder / "archive").glob("*/*"))
    image.rename(folder / "taken away.png")
    score(bundle, folder, update=True, gone="mark")
    (folder / "taken away.png").rename(image)

    summary = score(bundle, folder, update=True)

    assert (summary.scored, summary.indexed, len(raw(folder))) == (0, 40, 40)
    assert {row["gone_at"] for row in raw(folder).values()} == {None}


def test_a_renamed_image_has_one_row_if_rows_of_gone_images_are_dropped(
    bundle: Path, folder: Path
) -> None:
    image = min((folder / "archive").glob("*/*"))
    image.rename(image.with_name("renamed.png"))

    score(bundle, folder, update=True, gone="drop")

    assert set(by_path(folder)) == set(map(str, (folder / "archive").glob("*/*")))
    check_record(folder)


def test_a_policy_for_gone_images_needs_an_update() -> None:
    with pytest.raises(ConfigError, match=r"gone mark says what an update does; add --update\."):
        PredictConfig(bundle="b", data="d", output="o", gone="mark")


def test_the_csv_file_is_written_when_it_is_asked_for_and_kept_up_to_date(
    bundle: Path, folder: Path
) -> None:
    csv = folder / "run" / "predictions.csv"
    assert not csv.exists()

    assert score(bundle, folder, update=True, csv=True).already_finished
    assert same_as_parts(folder)
    csv.write_text("of yesterday\n")
    assert score(bundle, folder, resume=True, csv=True).already_finished
    assert same_as_parts(folder)

    # a file that is there must not have other rows than the parts
    shutil.copy(min((folder / "archive").glob("*/*")), folder / "archive" / "dark" / "new.png")
    score(bundle, folder, update=True)
    assert same_as_parts(folder)


def test_a_dry_run_estimates_only_what_would_be_scored(bundle: Path, folder: Path) -> None:
    shutil.copy(min((folder / "archive").glob("*/*")), folder / "archive" / "dark" / "new.png")

    plan = estimate(settings_of(bundle, folder, update=True))

    assert (plan["images"], plan["estimate"]["to score"], plan["estimate"]["sample"]) == (41, 1, 1)
    score(bundle, folder, update=True)
    for mode in ("update", "resume"):
        plan = estimate(settings_of(bundle, folder, **{mode: True}, price_per_hour=2.5))
        assert plan["estimate"] == {"to score": 0, "hours for all": 0.0, "cost": 0.0}


def test_resuming_with_other_data_says_what_changed_and_how_to_take_it_in(
    bundle: Path, folder: Path
) -> None:
    first, second, *_ = sorted((folder / "archive").glob("*/*"))
    shutil.copy(first, folder / "archive" / "dark" / "new.png")
    second.unlink()

    with pytest.raises(RunExistsError) as refused:
        score(bundle, folder, resume=True)

    assert str(refused.value) == (
        f"the data have changed since the run in {folder / 'run'} began (1 new, 1 gone); take "
        "that in with --update, or choose another directory."
    )


def test_what_is_new_since_a_time_is_a_query(bundle: Path, folder: Path) -> None:
    evening = datetime.now(UTC)
    new = folder / "archive" / "dark" / "new.png"
    shutil.copy(min((folder / "archive").glob("*/*")), new)

    summary = score(bundle, folder, update=True)

    rows = duckdb.execute(
        f"select path, run_id from '{folder}/run/predictions/*.parquet' where scored_at > ?",
        [evening],
    ).fetchall()
    assert rows == [(str(new), summary.run_id)]
    record = json.loads((folder / "run" / "run.json").read_text())
    assert record["run_id"] == summary.run_id
