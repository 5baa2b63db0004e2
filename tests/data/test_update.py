"""`index --update`: only what is new is opened, and whoever was there keeps its split."""

import dataclasses
import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cnnjobs.cli.index import index_text
from cnnjobs.config import IndexConfig
from cnnjobs.data import manifest
from cnnjobs.data.index import IndexSummary, index, plan
from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import ConfigError, InputError
from cnnjobs.imaging import reading
from cnnjobs.storage import filesystem
from tests.support import image_files
from tests.support.disks import fail_to_list

NOTHING = {"new": 0, "changed": 0, "again": 0, "gone": 0}


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = phantom(np.random.default_rng(seed), height=72, width=80, opacity=False)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """12 patients with two drawings each, six of each class."""
    folder = tmp_path / "xrays"
    for number in range(24):
        patient = number // 2
        draw(folder / ("normal", "opacity")[patient % 2] / f"P{patient:02d}_{number}.png", number)
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of all files that were opened."""
    paths: list[str] = []

    def read(path: str, *_: Any) -> bytes:
        paths.append(path)
        return filesystem.read_bytes(path)

    monkeypatch.setattr(reading, "read_image", read)
    return paths


def config(tree: Any, **settings: Any) -> IndexConfig:
    output = f"{tree}.parquet" if "s3://" in str(tree) else f"{Path(tree).parent}/m.parquet"
    return IndexConfig(sources=(str(tree),), output=output, **settings)


def update(tree: Any, **settings: Any) -> IndexSummary:
    return index(config(tree, **settings, update=True))


def rows(summary: IndexSummary) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in manifest.read(summary.manifest).table.to_pylist()}


def no_group_is_in_two_splits(found: dict[str, dict[str, Any]]) -> bool:
    splits = defaultdict(set)
    for row in found.values():
        splits[row["group"]].add(row["split"])
    return all(len(each - {None}) < 2 for each in splits.values())


def test_an_update_without_changes_opens_nothing_and_changes_nothing(
    tree: Path, opened: list[str]
) -> None:
    before = filesystem.read_bytes(index(config(tree)).manifest)
    opened.clear()

    summary = update(tree)

    assert summary.update == {**NOTHING, "unchanged": 24}
    assert opened == []
    assert filesystem.read_bytes(summary.manifest) == before
    assert "update: 0 new, 0 changed, 0 again, 0 gone, 24 unchanged" in index_text(summary)


def test_only_new_and_changed_files_are_opened_and_the_others_keep_all(
    tree: Path, opened: list[str]
) -> None:
    old = rows(index(config(tree)))
    draw(tree / "normal/new.png", 100)
    draw(tree / "opacity/new.png", 101)
    changed = tree / "normal/P00_0.png"
    draw(changed, 102)
    os.utime(changed, (1, 1))
    (tree / "opacity/P01_2.png").unlink()
    opened.clear()
    assert plan(config(tree, update=True))["update"] == {
        **NOTHING, "new": 2, "changed": 1, "gone": 1, "unchanged": 22,
    }  # fmt: skip
    assert opened == []

    summary = update(tree)

    assert summary.update == {**NOTHING, "new": 2, "changed": 1, "gone": 1, "unchanged": 22}
    assert sorted(opened) == sorted(
        map(str, (changed, tree / "normal/new.png", tree / "opacity/new.png"))
    )
    found = rows(summary)
    assert list(found) == sorted(found)
    assert len(found) == 25
    for path, row in old.items():
        if path in found and path != str(changed):
            assert found[path] == row
    assert found[str(changed)]["content_hash"] != old[str(changed)]["content_hash"]
    assert found[str(changed)]["split"] == old[str(changed)]["split"]
    assert all(row["split"] for row in found.values())


def test_an_update_of_nothing_is_an_index(tree: Path) -> None:
    summary = update(tree)
    assert (summary.num_images, summary.update) == (24, None)


@pytest.mark.parametrize("seed", range(3))
def test_new_images_of_a_patient_join_its_split_and_new_patients_fill_the_shares(
    tree: Path, seed: int
) -> None:
    how = {"group_regex": r"(P\d+)_", "seed": seed}
    old = rows(index(config(tree, **how)))
    for number in range(12):
        draw(tree / f"normal/P{number:02d}_again.png", 200 + number)
    for number in range(40):
        draw(tree / f"opacity/P{50 + number}_1.png", 300 + number)

    summary = update(tree, **how)

    found = rows(summary)
    assert all(found[path] == row for path, row in old.items())
    assert no_group_is_in_two_splits(found)
    split_of = {row["group"]: row["split"] for row in old.values()}
    for path, row in found.items():
        if "_again" in path:
            assert row["split"] == split_of[row["group"]]
    shares = dict.fromkeys(("train", "validation", "test"), 0)
    for row in found.values():
        shares[row["split"]] += 1
    assert shares["train"] / len(found) == pytest.approx(0.7, abs=0.08)
    assert shares["test"] / len(found) == pytest.approx(0.15, abs=0.06)


def test_copies_of_old_images_join_their_group_and_split(tree: Path) -> None:
    old = rows(index(config(tree)))
    shutil.copy(tree / "normal/P00_0.png", tree / "opacity/aaa_copy.png")
    pixels = cv2.imread(str(tree / "opacity/P01_2.png"), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    cv2.imwrite(str(tree / "normal/aaa_near.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])

    summary = update(tree)

    assert (summary.num_exact_copies, summary.num_near_copies) == (1, 1)
    found = rows(summary)
    pairs = {"opacity/aaa_copy.png": "normal/P00_0.png", "normal/aaa_near.jpg": "opacity/P01_2.png"}
    for copy, of in pairs.items():
        original = old[f"{tree}/{of}"]
        assert found[f"{tree}/{of}"] == original
        for name in ("group", "split"):
            assert found[f"{tree}/{copy}"][name] == original[name]


def test_an_image_between_two_splits_has_none(tree: Path) -> None:
    how = {"group_regex": r"(P\d+)_"}
    old = rows(index(config(tree, **how)))
    in_train = next(path for path, row in old.items() if row["split"] == "train")
    in_test = next(row for row in old.values() if row["split"] == "test")
    # a copy of a training image under the name of a patient in the test
    copy = tree / "normal" / f"{in_test['group']}_copy.png"
    shutil.copy(in_train, copy)

    summary = update(tree, **how)

    found = rows(summary)
    assert found[str(copy)]["split"] is None
    assert all(found[path] == row for path, row in old.items())
    assert no_group_is_in_two_splits(found)
    assert [warning[:46] for warning in summary.warnings] == [
        "no split for 1 new image that would connect gr"
    ]


def test_a_patient_that_was_joined_with_another_is_still_known(tree: Path) -> None:
    how = {"group_regex": r"(P\d+)_"}
    shutil.copy(tree / "normal/P00_0.png", tree / "opacity/P11_copy.png")
    old = rows(index(config(tree, **how)))
    assert old[f"{tree}/opacity/P11_copy.png"]["group"] == "P00"
    draw(tree / "opacity/P11_new.png", 400)

    found = rows(update(tree, **how))

    new = found[f"{tree}/opacity/P11_new.png"]
    assert new["group"] == "P00"
    assert new["split"] == old[f"{tree}/normal/P00_0.png"]["split"]


@pytest.mark.parametrize("key", [False, True])
def test_a_new_dicom_file_joins_its_patient(tmp_path: Path, key: bool) -> None:
    folder = tmp_path / "pacs"
    (folder / "a").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (12, 80, 90), np.uint8)
    for number in range(10):
        file = folder / "a" / (f"{number}.dcm" if number % 2 else f"IM{number}")
        file.write_bytes(image_files.dicom(noise[number], PatientID=f"JONES-{number}"))
    (tmp_path / "key").write_bytes(b"k" * 32)
    how = {"group_key": f"{tmp_path}/key"} if key else {}
    old = rows(index(config(folder, **how)))
    (folder / "a/new.dcm").write_bytes(image_files.dicom(noise[10], PatientID="JONES-4"))

    summary = update(folder, **how)

    new, known = rows(summary)[f"{folder}/a/new.dcm"], old[f"{folder}/a/IM4"]
    assert (new["group"], new["split"]) == (known["group"], known["split"])
    assert "read 10 known DICOM files again" in summary.warnings[0]


def test_images_in_a_folder_that_cannot_be_listed_now_are_not_gone(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = rows(index(config(tree)))
    fail_to_list("normal", monkeypatch)

    summary = update(tree)

    assert summary.update == {**NOTHING, "unchanged": 24}
    assert rows(summary) == old
    assert "Input/output error" in summary.warnings[0]


def test_what_could_not_be_read_is_tried_again(tree: Path) -> None:
    (tree / "normal/link.png").symlink_to(tree.parent / "later.png")
    index(config(tree))
    draw(tree.parent / "later.png", 500)

    summary = update(tree)

    assert summary.update is not None
    assert summary.update["again"] + summary.update["changed"] == 1
    row = rows(summary)[f"{tree}/normal/link.png"]
    assert (row["error"], row["split"] is None) == (None, False)


def test_what_was_excluded_stays_excluded(tree: Path) -> None:
    index(config(tree, exclude=("P0[01]*",)))
    draw(tree / "normal/P00_new.png", 600)

    assert update(tree).update == {**NOTHING, "unchanged": 20}
    assert manifest.read(config(tree).output).settings["exclude"] == ["P0[01]*"]
    assert update(tree, exclude=("P0[012]*",)).update == {**NOTHING, "gone": 2, "unchanged": 18}


def test_an_update_without_content_works_too(tree: Path, opened: list[str]) -> None:
    index(config(tree, content=False))
    draw(tree / "normal/new.png", 700)

    assert update(tree, content=False).update == {**NOTHING, "new": 1, "unchanged": 24}
    assert opened == []


def test_an_update_on_s3(tree: Path, s3: str, opened: list[str]) -> None:
    for path in tree.glob("*/*"):
        filesystem.write_bytes(f"{s3}/x/{path.relative_to(tree)}", path.read_bytes())
    index(config(f"{s3}/x"))
    opened.clear()
    filesystem.write_bytes(f"{s3}/x/normal/new.png", (tree / "normal/P00_0.png").read_bytes())

    summary = update(f"{s3}/x")

    assert summary.update == {**NOTHING, "new": 1, "unchanged": 24}
    assert opened == [f"{s3}/x/normal/new.png"]


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"content": False}, "content was True, is False"),
        ({"group_regex": "(P.)"}, "group_regex was None, is (P.)"),
    ],
)
def test_an_update_with_other_rules_is_refused(
    tree: Path, settings: dict[str, Any], difference: str
) -> None:
    before = filesystem.read_bytes(index(config(tree)).manifest)
    for run in (index, plan):
        with pytest.raises(InputError) as caught:
            run(config(tree, **settings, update=True))
        assert str(caught.value) == (
            f"the manifest was made otherwise ({difference}); update it with the same sources and "
            "settings, or index with --overwrite."
        )
    assert filesystem.read_bytes(f"{tree.parent}/m.parquet") == before


def test_an_update_of_another_source_is_refused_and_one_of_more_is_not(tree: Path) -> None:
    index(config(tree))
    draw(tree.parent / "more/normal/x.png", 800)
    other = dataclasses.replace(config(tree, update=True), sources=(f"{tree.parent}/more",))
    with pytest.raises(InputError, match=f"source {tree} is missing"):
        index(other)
    both = dataclasses.replace(other, sources=(str(tree), f"{tree.parent}/more"))
    assert index(both).update == {**NOTHING, "new": 1, "unchanged": 24}


def test_an_archive_whose_images_are_all_others_is_refused(tree: Path) -> None:
    index(config(tree))
    for path in tree.glob("*/*.png"):
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(InputError, match="24 of 24 images are gone and 24 of 24 are new"):
        update(tree)


def test_update_and_overwrite_are_two_things() -> None:
    with pytest.raises(ConfigError) as caught:
        IndexConfig(sources=("a",), output="b", update=True, overwrite=True)
    assert str(caught.value) == "update and overwrite cannot be given together; choose one."


def test_a_new_class_with_one_image_is_put_where_most_is_lacking(tree: Path) -> None:
    index(config(tree))
    draw(tree / "rare/one.png", 900)
    assert rows(update(tree))[f"{tree}/rare/one.png"]["split"] == "train"
