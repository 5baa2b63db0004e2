import hashlib
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs import schema
from cnnjobs.config import constants
from cnnjobs.data import file_checks, manifest, sources, streamed
from cnnjobs.data.phantoms import phantom
from cnnjobs.data.sources import Rules
from cnnjobs.errors import InputError, ManifestError, StorageError
from cnnjobs.progress import silent
from cnnjobs.storage import filesystem
from tests.support import image_files
from tests.support.image_files import exif

SUFFIXES = ".png, .jpg, .jpeg, .jpe, .bmp, .tif, .tiff, .webp, .dcm, .dicom"


def _drawing(seed=0, side=72):
    return phantom(np.random.default_rng(seed), height=side, width=side + 8, opacity=False)


def _write(path, pixels, *options):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, list(options))


def _touch(folder, *names):
    """Write files whose content is never looked into."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """8 drawings of each of two classes."""
    folder = tmp_path_factory.mktemp("tree") / "xrays"
    for number in range(16):
        label = ("normal", "opacity")[number % 2]
        _write(folder / label / f"p{number:02d}.png", _drawing(number))
    return folder


def _index(*folders, shares=None, **options):
    return sources.index_sources([str(folder) for folder in folders], shares=shares, **options)


def _listing(*folders, **options):
    """Index without looking inside: in memory and into a file, which come to the same."""
    indexed = _index(*folders, content=False, **options)
    how = Rules(content=False, **{"shares": None, **options})
    if streamed.is_possible(how):
        images, noticed = streamed.index([str(folder) for folder in folders], how, silent)
        rows = pa.concat_tables(images.rows("all", schema.MANIFEST.names))
        assert rows.equals(indexed.manifest.table)
        assert (images.settings, images.fingerprint) == (
            indexed.manifest.settings,
            indexed.manifest.fingerprint,
        )
        assert vars(noticed) == {name: vars(indexed)[name] for name in vars(noticed)}
    return indexed


def _rows(indexed):
    return indexed.manifest.table.to_pylist()


def _column(indexed, name):
    return indexed.manifest.table[name].to_pylist()


def _error(*folders, kind=InputError, **options):
    with pytest.raises(kind) as caught:
        _listing(*folders, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# labels


def test_folders_right_below_the_source_are_the_classes(tree):
    rows = _rows(_listing(tree))
    assert Counter(row["label"] for row in rows) == {"normal": 8, "opacity": 8}
    assert all(Path(row["path"]).parent.name == row["label"] for row in rows)
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)


def test_images_are_opened_a_few_at_a_time(tree, monkeypatch):
    whole = _index(tree).manifest.table
    monkeypatch.setattr(file_checks, "PIECE_ROWS", 5)
    assert _index(tree).manifest.table.equals(whole)
    monkeypatch.setattr(file_checks, "PIECE_ROWS", 8)
    assert _index(tree).manifest.table.equals(whole)


def test_deeper_folders_belong_to_the_class_above(tmp_path):
    _touch(tmp_path, "normal/2020/may/a.png", "opacity/b.png")
    assert _column(_listing(tmp_path), "label") == ["normal", "opacity"]


def test_images_right_in_the_source_have_no_label(tmp_path):
    _touch(tmp_path, "a.png", "b.jpg")
    assert _column(_listing(tmp_path), "label") == [None, None]


def test_a_tree_may_mix_labelled_and_unlabelled_images(tmp_path):
    _touch(tmp_path, "a.png", "normal/b.png")
    assert _column(_listing(tmp_path), "label") == [None, "normal"]


def test_labels_can_be_left_out(tree):
    assert set(_column(_listing(tree, labels=False), "label")) == {None}


def test_unlabelled_images_are_not_split(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "xrays")
    _write(tmp_path / "xrays/extra.png", _drawing(99))
    rows = _rows(_index(tmp_path / "xrays", shares=sources.DEFAULT_SHARES))
    assert [Path(row["path"]).name for row in rows if row["split"] is None] == ["extra.png"]


def test_one_class_alone_is_indexed(tmp_path):
    _touch(tmp_path, *(f"normal/{number}.png" for number in range(20)))
    splits = Counter(_column(_listing(tmp_path, shares=sources.DEFAULT_SHARES), "split"))
    assert splits == {"train": 14, "validation": 3, "test": 3}


# files


def test_all_image_suffixes_count_in_either_case(tmp_path):
    names = [f"{number}{suffix}" for number, suffix in enumerate(constants.IMAGE_SUFFIXES)]
    _touch(tmp_path, *names, "UPPER.PNG", "Mixed.JpEg")
    found = [Path(path).name for path in _column(_listing(tmp_path), "path")]
    assert sorted(found) == sorted([*names, "UPPER.PNG", "Mixed.JpEg"])


def test_other_files_are_counted_by_suffix(tmp_path):
    _touch(tmp_path, "a.png", "b.txt", "c/d.TXT", "c/e.nii", "README", ".DS_Store", "c/._a.png")
    indexed = _listing(tmp_path)
    assert indexed.ignored == {".txt": 2, ".nii": 1, "no suffix": 1, "hidden": 2}
    assert indexed.manifest.table.num_rows == 1


DICOM = bytes(128) + b"DICM" + bytes(20)


@pytest.mark.parametrize("on_s3", [False, True])
def test_files_without_a_suffix_that_begin_as_dicom_does_are_images(on_s3, tmp_path, request):
    files = {"IM0001": DICOM, "a/IM2": DICOM, "README": b"text", "empty": b"", "b.txt": DICOM}
    place = request.getfixturevalue("s3") if on_s3 else str(tmp_path)
    for name, data in {**files, ".hidden": DICOM, "c.png": b""}.items():
        filesystem.write_bytes(f"{place}/{name}", data)
    indexed = _index(place)
    found = [filesystem.relative(path, place) for path in _column(indexed, "path")]
    assert sorted(found) == ["IM0001", "a/IM2", "c.png"]
    assert indexed.ignored == {"no suffix": 2, ".txt": 1, "hidden": 1}


def test_without_content_a_file_without_a_suffix_is_not_an_image(tmp_path):
    (tmp_path / "IM0001").write_bytes(DICOM)
    _touch(tmp_path, "a.png")
    assert _listing(tmp_path, suffixless=False).ignored == {"no suffix": 1}


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "IM0001")
    _touch(tmp_path, "a.png")
    assert _index(tmp_path).manifest.table.num_rows == 1


def test_a_row_holds_what_the_listing_returned(tmp_path):
    _write(tmp_path / "xrays/normal/a.png", _drawing())
    file = tmp_path / "xrays/normal/a.png"
    os.utime(file, ns=(0, 1_700_000_000_000_000_000))
    (row,) = _rows(_listing(tmp_path / "xrays"))
    assert row["path"] == str(file)
    assert row["source"] == "xrays"
    assert row["group"] == "xrays/normal/a.png"
    assert row["size_bytes"] == file.stat().st_size
    assert row["modified"].isoformat() == "2023-11-14T22:13:20+00:00"


def test_a_relative_source_gives_absolute_paths(tree, monkeypatch):
    monkeypatch.chdir(tree.parent)
    assert _column(_listing("xrays"), "path") == _column(_listing(tree), "path")


def test_an_empty_folder_has_no_images(tmp_path):
    assert _error(tmp_path) == f"{tmp_path} holds no images ({SUFFIXES}); it has 0 other files."


def test_a_folder_of_other_files_has_no_images(tmp_path):
    _touch(tmp_path, "a.txt", "b/c.nii")
    assert _error(tmp_path) == f"{tmp_path} holds no images ({SUFFIXES}); it has 2 other files."


def test_other_files_of_another_source_are_not_counted(tmp_path):
    _touch(tmp_path, "one/a.png", "one/b.txt", "one/c.txt", "two/d.txt")
    message = f"{tmp_path}/two holds no images ({SUFFIXES}); it has 1 other files."
    assert _error(tmp_path / "one", tmp_path / "two") == message


def test_a_missing_folder_is_an_error(tmp_path):
    message = f"{tmp_path}/gone does not exist."
    assert _error(tmp_path / "gone", kind=StorageError) == message


# several sources


def test_sources_are_named_by_their_last_part(tmp_path):
    _touch(tmp_path, "one/a.png", "two/a.png")
    indexed = _listing(tmp_path / "one", tmp_path / "two")
    assert _column(indexed, "source") == ["one", "two"]
    assert _column(indexed, "group") == ["one/a.png", "two/a.png"]


def test_sources_of_the_same_name_are_named_in_full(tmp_path):
    _touch(tmp_path, "one/xrays/a.png", "two/xrays/a.png", "three/other/a.png")
    folders = [tmp_path / "one/xrays", tmp_path / "two/xrays", tmp_path / "three/other"]
    indexed = _listing(*folders)
    assert _column(indexed, "source") == [f"{folders[0]}", f"{folders[1]}", "other"]
    assert len(set(_column(indexed, "group"))) == 3


def test_sources_come_from_the_path_inside_the_tree_by_a_regex(tmp_path):
    _touch(tmp_path, "covid/siteA/1.png", "normal/siteA/2.png", "normal/siteB/3.png")
    indexed = _listing(tmp_path, source_regex=r"/(?P<source>site[AB])/")
    assert _column(indexed, "source") == ["siteA", "siteA", "siteB"]
    assert _column(indexed, "label") == ["covid", "normal", "normal"]


def test_a_path_that_the_source_regex_does_not_match_is_an_error(tmp_path):
    _touch(tmp_path, "normal/siteA_1.png", "normal/scan.png")
    assert _error(tmp_path, source_regex="(site[AB])_") == (
        "source_regex '(site[AB])_' matches no source in the path of 1 of 2 images, such "
        "as normal/scan.png; every image needs one."
    )


def test_a_source_given_twice_is_an_error(tmp_path):
    message = f"a source is given twice: {tmp_path}, {tmp_path}."
    assert _error(tmp_path, f"{tmp_path}/") == message


@pytest.mark.parametrize("order", [("", "sub"), ("sub", "")])
def test_sources_that_overlap_are_an_error(order, tmp_path):
    _touch(tmp_path, "sub/a.png")
    message = f"{tmp_path}/sub/a.png is in two sources; give sources that do not overlap."
    assert _error(*(tmp_path / part for part in order)) == message


# what is inside


def test_hashes_and_size_are_those_of_the_image(tree):
    (row, *_) = _rows(_index(tree))
    assert row["content_hash"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()
    assert len(bytes.fromhex(row["perceptual_hash"])) == 4 * 32
    assert (row["width"], row["height"]) == (80, 72)
    assert row["error"] is None


def test_without_content_nothing_is_opened(tmp_path):
    _touch(tmp_path, "a.png")
    (row,) = _rows(_listing(tmp_path))
    assert row["error"] is None
    assert row["content_hash"] is row["perceptual_hash"] is row["width"] is row["height"] is None


def test_unreadable_files_keep_a_row_with_their_error_and_no_split(tree, tmp_path):
    folder = tmp_path / "xrays"
    shutil.copytree(tree, folder)
    whole = (tree / "normal/p00.png").read_bytes()
    (folder / "normal/empty.png").write_bytes(b"")
    (folder / "normal/half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "opacity/text.png").write_bytes(b"text, not an image")
    (folder / "opacity/dead.png").symlink_to(folder / "gone.png")
    rows = _rows(_index(folder, shares=sources.DEFAULT_SHARES))
    bad = {Path(row["path"]).name: row for row in rows if row["error"] is not None}
    assert {name: row["error"].split(":")[0] for name, row in bad.items()} == {
        "empty.png": "empty",
        "half.png": "truncated",
        "text.png": "not an image",
        "dead.png": "missing",
    }
    assert {row["split"] for row in bad.values()} == {None}
    assert {row["label"] for row in bad.values()} == {"normal", "opacity"}
    assert {row["error"].split(":")[0] for row in bad.values()} <= set(constants.ERROR_CATEGORIES)
    assert all(row["split"] for row in rows if row["error"] is None)
    assert bad["empty.png"]["content_hash"] == hashlib.sha256(b"").hexdigest()
    assert bad["dead.png"]["content_hash"] is None


def test_two_equal_broken_files_are_not_duplicates(tree, tmp_path):
    folder = tmp_path / "xrays"
    shutil.copytree(tree, folder)
    (folder / "normal/empty.png").write_bytes(b"")
    (folder / "opacity/empty.png").write_bytes(b"")
    indexed = _index(folder)
    assert (indexed.num_exact_copies, indexed.num_near_copies) == (0, 0)
    assert indexed.mixed_labels == []


def test_the_size_is_that_after_orientation(tmp_path):
    block = np.frombuffer(exif(6), np.uint8)
    kinds = [cv2.IMAGE_METADATA_EXIF]
    _, data = cv2.imencodeWithMetadata(".jpg", _drawing(), kinds, [block])
    (tmp_path / "a.jpg").write_bytes(data.tobytes())
    (row,) = _rows(_index(tmp_path))
    assert (row["width"], row["height"]) == (72, 80)


def test_progress_is_reported_from_start_to_end(tree):
    told = []
    _index(tree, progress=lambda *report: told.append(report))
    assert told == [("list", 16, None), ("index", 0, 16), ("index", 16, 16)]


# copies


@pytest.fixture(scope="module")
def planted(tree, tmp_path_factory):
    """The tree with an exact copy in the other class and near ones under other names."""
    folder = tmp_path_factory.mktemp("planted") / "xrays"
    shutil.copytree(tree, folder)
    shutil.copy(folder / "normal/p00.png", folder / "opacity/same.png")
    pixels = cv2.imread(str(folder / "normal/p02.png"), cv2.IMREAD_GRAYSCALE)
    _write(folder / "opacity/again.jpg", pixels, cv2.IMWRITE_JPEG_QUALITY, 70)
    pixels = cv2.imread(str(folder / "normal/p04.png"), cv2.IMREAD_GRAYSCALE)
    brighter = cv2.convertScaleAbs(cv2.resize(pixels, (160, 144)), alpha=1.0, beta=10)
    _write(folder / "normal/larger.png", brighter)
    return folder


def test_copies_are_counted_and_those_of_two_classes_named(planted):
    indexed = _index(planted)
    assert indexed.num_exact_copies == 1
    assert indexed.num_near_copies == 2
    assert indexed.mixed_labels == [
        (f"{planted}/normal/p00.png", f"{planted}/opacity/same.png"),
        (f"{planted}/normal/p02.png", f"{planted}/opacity/again.jpg"),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_one_group_and_one_split(planted, seed):
    rows = _rows(_index(planted, shares=sources.DEFAULT_SHARES, seed=seed))
    by_name = {Path(row["path"]).name: row for row in rows}
    for one, other in (
        ("p00.png", "same.png"),
        ("p02.png", "again.jpg"),
        ("p04.png", "larger.png"),
    ):
        assert by_name[one]["group"] == by_name[other]["group"]
        assert by_name[one]["split"] == by_name[other]["split"]
    assert len({row["group"] for row in rows}) == 16


def test_copies_join_the_groups_they_are_in(planted, tmp_path):
    inside = [path.relative_to(planted) for path in sorted(planted.glob("*/*"))]
    patients = {"normal/p06.png": "P1", "normal/p00.png": "P1", "opacity/same.png": "P2"}
    patients["opacity/p07.png"] = "P2"
    lines = [f"{name},{patients.get(str(name), name.stem)}" for name in inside]
    (tmp_path / "groups.csv").write_text("path,group\n" + "\n".join(lines))
    rows = _rows(_index(planted, groups=[str(tmp_path / "groups.csv")]))
    joined = {Path(row["path"]).name for row in rows if row["group"] == "P1"}
    assert joined == {"p00.png", "p06.png", "p07.png", "same.png"}


def test_copies_across_sources_are_found(tree, planted):
    indexed = _index(tree, planted, shares=sources.DEFAULT_SHARES)
    assert indexed.num_exact_copies == 17
    splits = {}
    for row in _rows(indexed):
        assert splits.setdefault(row["content_hash"], row["split"]) == row["split"]


def test_without_content_copies_are_not_noticed(planted):
    indexed = _listing(planted)
    assert (indexed.num_exact_copies, indexed.num_near_copies) == (0, 0)
    assert len(set(_column(indexed, "group"))) == 19


# groups


def _groups_file(folder, text, encoding="utf-8"):
    file = folder / "groups.csv"
    file.write_text(text, encoding=encoding)
    return str(file)


@pytest.fixture
def three(tmp_path):
    _touch(tmp_path, "xrays/normal/a.png", "xrays/normal/b.png", "xrays/opacity/c.png")
    return tmp_path / "xrays"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_groups_come_from_a_csv_file(three, encoding):
    text = "group,note,path\nP1,x,normal/a.png\nP1,,normal/b.png\nP2,,opacity/c.png\n"
    file = _groups_file(three.parent, text, encoding)
    assert _column(_listing(three, groups=[file]), "group") == ["P1", "P1", "P2"]


def test_a_groups_file_may_name_whole_paths_and_more_images_than_there_are(three):
    text = f"path,group\n{three}/normal/a.png,P1\nnormal/b.png,P2\nopacity/c.png,P3\ngone.png,P4\n"
    file = _groups_file(three.parent, text)
    assert _column(_listing(three, groups=[file]), "group") == ["P1", "P2", "P3"]


def test_a_path_with_a_comma_is_quoted(tmp_path):
    _touch(tmp_path, "xrays/a, b.png")
    file = _groups_file(tmp_path, 'path,group\r\n"a, b.png",P1\r\n')
    assert _column(_listing(tmp_path / "xrays", groups=[file]), "group") == ["P1"]


@pytest.mark.parametrize("line", ["", "opacity/c.png,\n", "opacity/c.png\n"])
def test_an_image_without_a_group_is_an_error(three, line):
    file = _groups_file(three.parent, f"path,group\nnormal/a.png,P1\nnormal/b.png,P1\n{line}")
    assert _error(three, groups=[file]) == (
        f"{file} has no group for 1 of 3 images, such as opacity/c.png; every image needs one, "
        "or add --groups-missing own."
    )


@pytest.mark.parametrize(
    ("text", "columns"),
    [("file,patient\na,b\n", "file, patient"), ("path\n", "path"), ("", "nothing")],
)
def test_a_groups_file_of_other_columns_is_an_error(three, text, columns):
    file = _groups_file(three.parent, text)
    message = f"{file} must have the columns path and group, it has {columns}."
    assert _error(three, groups=[file]) == message


def test_two_groups_for_one_path_are_an_error(three):
    file = _groups_file(three.parent, "path,group\nnormal/a.png,P1\nnormal/a.png,P2\n")
    assert _error(three, groups=[file]) == f"{file} assigns two groups to normal/a.png; keep one."


def test_the_same_group_twice_for_one_path_is_fine(three):
    lines = "normal/a.png,P1\nnormal/a.png,P1\nnormal/b.png,P1\nopacity/c.png,P1\n"
    file = _groups_file(three.parent, "path,group\n" + lines)
    assert set(_column(_listing(three, groups=[file]), "group")) == {"P1"}


def test_a_missing_groups_file_is_an_error(three):
    file = f"{three}/gone.csv"
    message = f"{file} cannot be read as a CSV file of path,group."
    assert _error(three, groups=[file]) == message


def test_a_groups_file_that_is_not_text_is_an_error(three):
    (three / "groups.csv").write_bytes(b"PAR1\xff\xfe\0\0")
    file = f"{three}/groups.csv"
    message = f"{file} cannot be read as a CSV file of path,group."
    assert _error(three, groups=[file]) == message


def test_groups_come_from_the_file_name_by_a_regex(tmp_path):
    _touch(tmp_path, "x9_y/p1_a.png", "x9_y/p1_b.png", "z/p2_a.png")
    indexed = _listing(tmp_path, group_regex=r"^(.+?)_")
    assert _column(indexed, "group") == ["p1", "p1", "p2"]


@pytest.mark.parametrize("regex", [r"^(p\d+)_", r"^(p\d+)?"])
def test_a_name_that_the_regex_does_not_match_is_an_error(tmp_path, regex):
    _touch(tmp_path, "normal/p1_a.png", "normal/scan.png", "normal/other.png")
    assert _error(tmp_path, group_regex=regex) == (
        f"group_regex {regex!r} matches no group in the name of 2 of 3 images, such as "
        "normal/other.png; every image needs one, or add --groups-missing own."
    )


def test_groups_of_many_images_stay_whole(tmp_path):
    names = [f"{('a', 'b')[p % 2]}/p{p:02d}_{image}.png" for p in range(16) for image in range(3)]
    _touch(tmp_path, *names)
    shares = sources.DEFAULT_SHARES
    rows = _rows(_listing(tmp_path, group_regex="^(p[0-9]+)_", shares=shares))
    splits = {(row["group"], row["split"]) for row in rows}
    assert len(splits) == len({row["group"] for row in rows}) == 16


# splits, settings, repetition


def test_a_class_with_fewer_images_than_splits_is_an_error(tmp_path):
    _touch(tmp_path, *(f"normal/{number}.png" for number in range(9)), "opacity/a.png")
    assert _error(tmp_path, shares=sources.DEFAULT_SHARES) == (
        "class opacity has 1 images in 1 groups; 3 splits need at least 3 groups; "
        "add images, or index with --no-split."
    )
    assert set(_column(_listing(tmp_path, shares=None), "split")) == {None}


def test_copies_do_not_make_a_class_large_enough(tree, tmp_path):
    folder = tmp_path / "xrays"
    shutil.copytree(tree, folder)
    for number in range(4):
        _write(folder / f"rare/{number}.png", _drawing(99))
    with pytest.raises(InputError) as caught:
        _index(folder, shares=sources.DEFAULT_SHARES)
    assert str(caught.value) == (
        "class rare has 4 images in 1 groups; 3 splits need at least 3 groups; "
        "add images, or index with --no-split."
    )


def test_indexing_twice_gives_the_same_manifest(planted):
    one, two = (_index(planted, shares=sources.DEFAULT_SHARES, seed=1) for _ in range(2))
    assert one == two
    assert one.manifest.fingerprint == two.manifest.fingerprint


def test_another_seed_changes_the_splits_and_nothing_else(planted):
    one, two = (_index(planted, shares=sources.DEFAULT_SHARES, seed=seed) for seed in (1, 2))
    tables = [indexed.manifest.table.drop_columns("split") for indexed in (one, two)]
    assert tables[0] == tables[1]
    assert _column(one, "split") != _column(two, "split")


def test_settings_record_how_the_manifest_was_made(tree):
    indexed = _listing(tree, shares={"train": 0.5, "test": 0.5}, group_regex=r"(.*)\.", seed=7)
    assert indexed.manifest.settings == {
        "sources": [str(tree)],
        "groups": None,
        "group_regex": r"(.*)\.",
        "source_regex": None,
        "shares": {"train": 0.5, "test": 0.5},
        "seed": 7,
        "content": False,
        "any_modality": False,
        "exclude": [],
        "ignored": {},
        "unlisted": [],
    }


# DATA


def test_data_may_be_a_manifest(tree, tmp_path):
    indexed = _index(tree)
    manifest.write(indexed.manifest, str(tmp_path / "m.parquet"))
    assert sources.open_data(str(tmp_path / "m.parquet")) == indexed.manifest


def test_data_may_be_a_folder_which_is_split_by_default(tree):
    opened = sources.open_data(str(tree))
    assert opened == _index(tree, shares=sources.DEFAULT_SHARES).manifest
    assert set(sources.open_data(str(tree), for_training=False).table["split"].to_pylist()) == {
        None
    }


def test_data_may_not_be_one_image(tree):
    file = f"{tree}/normal/p00.png"
    with pytest.raises(InputError) as caught:
        sources.open_data(file)
    assert (
        str(caught.value)
        == f"{file} is one file; give a folder, an archive, a manifest.parquet or s3://."
    )


def test_data_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(StorageError, match=rf"^{tmp_path}/gone does not exist\.$"):
        sources.open_data(f"{tmp_path}/gone")
    with pytest.raises(ManifestError, match=rf"^{tmp_path}/gone.parquet does not exist\.$"):
        sources.open_data(f"{tmp_path}/gone.parquet")


# S3


def _upload(folder, uri):
    for path in sorted(folder.rglob("*.*")):
        filesystem.write_bytes(f"{uri}/{path.relative_to(folder)}", path.read_bytes())


def test_an_s3_prefix_is_indexed_like_the_folder_it_came_from(planted, s3):
    _upload(planted, f"{s3}/xrays")
    filesystem.write_bytes(f"{s3}/xrays/normal/empty.png", b"")
    filesystem.write_bytes(f"{s3}/xrays/notes.txt", b"x")
    remote = _index(f"{s3}/xrays", shares=sources.DEFAULT_SHARES)
    rows = {row["path"]: row for row in _rows(remote)}
    empty = rows.pop(f"{s3}/xrays/normal/empty.png")
    assert (empty["error"], empty["split"]) == ("empty: the file has no bytes", None)
    assert remote.ignored == {".txt": 1}
    for local in _rows(_index(planted, shares=sources.DEFAULT_SHARES)):
        row = rows.pop(local["path"].replace(str(planted), f"{s3}/xrays"))
        for name in ("label", "source", "size_bytes", "group", "split", "content_hash", "width"):
            assert row[name] == local[name], name
        assert row["etag"] == hashlib.md5(Path(local["path"]).read_bytes()).hexdigest()
    assert not rows


def test_an_s3_prefix_without_images_is_an_error(s3):
    message = f"{s3}/gone holds no images ({SUFFIXES}); it has 0 other files."
    assert _error(f"{s3}/gone") == message


def test_a_groups_file_may_lie_on_s3(three, s3):
    text = b"path,group\nnormal/a.png,P1\nnormal/b.png,P1\nopacity/c.png,P2\n"
    filesystem.write_bytes(f"{s3}/groups.csv", text)
    indexed = _listing(three, groups=[f"{s3}/groups.csv"])
    assert _column(indexed, "group") == ["P1", "P1", "P2"]


def test_an_object_that_is_gone_is_missing(s3):
    assert file_checks.check_file(f"{s3}/gone.png") == {"error": "missing: the file is gone"}


def test_what_editors_and_archivers_leave_is_neither_image_nor_class(tree, tmp_path):
    before = sources.open_data(str(tree), for_training=False).table.num_rows
    image = next(tree.glob("*/*.png")).read_bytes()
    for name in (".ipynb_checkpoints/a.png", "__MACOSX/normal/b.png", "normal/._c.png"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(image)

    indexed = sources.index_sources([str(tree)], shares=None, content=False)

    assert indexed.manifest.table.num_rows == before
    assert indexed.ignored == {"hidden": 1, "hidden folders": 2}


@pytest.fixture
def radiographs(tmp_path: Path) -> Path:
    """Three DICOM files, two of them of one patient and one without a suffix, and a CT slice."""
    folder = tmp_path / "pacs"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (4, 80, 90), np.uint8)
    files = {"a.dcm": "JONES-17", "b": "JONES-17", "c.dcm": "SMITH-4"}
    for pixels, (name, patient) in zip(noise, files.items(), strict=False):
        (folder / name).write_bytes(image_files.dicom(pixels, PatientID=patient))
    (folder / "slice.dcm").write_bytes(image_files.dicom(noise[3], Modality="CT", PatientID="X"))
    return folder


def test_dicom_files_of_one_patient_share_a_group_that_does_not_name_it(radiographs):
    table = sources.index_sources([str(radiographs)], shares=None).manifest.table

    rows = {row["path"].rpartition("/")[2]: row for row in table.to_pylist()}
    assert rows["a.dcm"]["group"] == rows["b"]["group"] == "pacs/a.dcm"
    assert rows["c.dcm"]["group"] == "pacs/c.dcm"
    assert rows["slice.dcm"]["error"].startswith("unsupported: ")


def test_under_a_key_a_patient_has_the_same_group_in_every_manifest(radiographs, tmp_path):
    def groups(folder, key):
        table = sources.index_sources([str(folder)], shares=None, group_key=key).manifest.table
        return [row["group"] for row in table.to_pylist() if row["error"] is None]

    moved = tmp_path / "elsewhere"
    shutil.copytree(radiographs, moved)
    here = groups(radiographs, b"k" * 32)

    assert here == groups(moved, b"k" * 32)
    assert here != groups(radiographs, b"other" * 8)
    assert here[0] == here[1] != here[2]
    assert re.fullmatch("[0-9a-f]{32}", here[0])


def test_a_manifest_names_no_patient(radiographs, tmp_path):
    manifest.write(
        sources.index_sources([str(radiographs)], shares=None).manifest,
        str(tmp_path / "m.parquet"),
    )

    table = pq.read_table(tmp_path / "m.parquet")
    text = str(table.to_pylist()) + str(table.schema.metadata)
    assert not re.search("JONES|SMITH|SMITH-4|PatientID", text)


def test_any_modality_takes_slices_too(radiographs):
    indexed = sources.index_sources([str(radiographs)], shares=None, any_modality=True).manifest

    assert indexed.table["error"].null_count == 4
    assert indexed.settings["any_modality"]


def test_files_without_a_suffix_are_looked_at_when_images_are_only_listed(radiographs):
    assert sources.open_data(str(radiographs), for_training=False).table.num_rows == 4
