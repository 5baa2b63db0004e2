"""Images in tar, zip and Parquet as sources of a manifest."""

from collections import Counter
from pathlib import Path

import pytest

from cnnjobs import Manifest
from cnnjobs.data import manifest, sources, update
from cnnjobs.errors import InputError
from tests.support.shards import WRITERS, png, write_parquet, write_tar, write_zip

SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}
NAMES = [f"{('cat', 'dog')[number % 2]}/p{number:02d}.png" for number in range(16)]


def index(*roots: object, **options: object) -> sources.Indexed:
    options = {"shares": None, "content": False, **options}
    return sources.index_sources([str(root) for root in roots], **options)


def columns(indexed: sources.Indexed, *names: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in indexed.manifest.table.select(names).to_pylist()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards, with WebDataset's siblings, and a loose image."""
    root = tmp_path / "data"
    root.mkdir()
    for number, names in enumerate((NAMES[:8], NAMES[8:])):
        files = [(name, png(NAMES.index(name))) for name in names]
        siblings = [
            (name.replace(".png", suffix), b"{}") for name in names for suffix in (".json", ".cls")
        ]
        write_tar(root / f"shard-{number}.tar", [*files, *siblings])
    (root / "cat").mkdir()
    (root / "cat/loose.png").write_bytes(png(99))
    return root


def test_a_shard_gives_the_labels_and_splits_of_the_same_folder(
    folder: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        (tmp_path / "loose" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "loose" / name).write_bytes(png(NAMES.index(name)))
    (folder / "cat/loose.png").unlink()

    indexed = index(folder, content=True, shares=SHARES)
    loose = index(tmp_path / "loose", content=True, shares=SHARES)

    assert indexed.ignored == {".json": 16, ".cls": 16}
    same = ("label", "content_hash", "width", "height", "error")
    assert Counter(columns(indexed, *same)) == Counter(columns(loose, *same))
    assert columns(indexed, "path") == [
        (f"{folder}/shard-{position // 8}.tar::{name}",) for position, name in enumerate(NAMES)
    ]
    assert indexed.manifest.labels == ["cat", "dog"]
    assert {split for (split,) in columns(indexed, "split")} == set(SHARES)


def test_a_class_may_be_the_folder_of_its_shards(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        write_zip(tmp_path / label / "a.zip", [("sub/x.png", b""), (".hidden.png", b"")])

    indexed = index(tmp_path)

    assert columns(indexed, "label", "group") == [
        (label, f"{tmp_path.name}/{label}/a.zip/sub/x.png") for label in ("cat", "dog")
    ]
    assert indexed.ignored == {"hidden": 2}


@pytest.mark.parametrize("suffix", WRITERS)
def test_one_archive_is_data(tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"a{suffix}"
    WRITERS[suffix](archive, [(name, png(0)) for name in NAMES])

    opened = sources.open_data(str(archive), for_training=False)

    assert opened.table["path"].to_pylist() == [f"{archive}::{name}" for name in NAMES]
    assert opened.labels == ["cat", "dog"]
    opened.write(tmp_path / "manifest.parquet")
    assert sources.open_data(str(tmp_path / "manifest.parquet")).table == opened.table


def test_groups_sources_and_exclusions_see_the_path_in_the_shard(folder: Path) -> None:
    indexed = index(
        folder,
        group_regex=r"shard-(\d)\.tar/\w+/p",
        groups_missing="own",
        source_regex=r"^(shard-\d|cat)",
    )
    assert Counter(group for (group,) in columns(indexed, "group"))["0"] == 8
    assert {source for (source,) in columns(indexed, "source")} == {"shard-0", "shard-1", "cat"}

    paths = [
        {
            path.rpartition("/data/")[2]
            for (path,) in columns(index(folder, exclude=[pattern]), "path")
        }
        for pattern in ("shard-0.tar", "shard-0.tar/dog/", "cat/*.png", "p0?.png")
    ]
    everything = {path.rpartition("/data/")[2] for (path,) in columns(index(folder), "path")}
    first = {f"shard-0.tar::{name}" for name in NAMES[:8]}
    assert everything - paths[0] == first
    assert everything - paths[1] == {path for path in first if "dog" in path}
    assert everything - paths[2] == {path for path in everything if "cat" in path}
    assert everything - paths[3] == {path for path in everything if "/p0" in path}
    whole = sources.open_data(str(folder), for_training=False, exclude=["shard-0.tar/dog/"])
    assert whole.table.num_rows == 13


def test_a_table_names_images_by_their_name_in_the_shard(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    lines = [f"{name},{('healthy', 'ill')[number % 2]}" for number, name in enumerate(NAMES)]
    table.write_text("\n".join(["path,label", *lines]))

    rules = sources.TableRules(files=[str(table)], columns={"label": "label"}, max_unmatched="50%")
    indexed = index(folder, table=rules)

    assert columns(indexed, "label") == [("healthy",), ("ill",)] * 8


def test_all_images_of_a_changed_shard_are_changed_and_no_others(folder: Path) -> None:
    before = index(folder, content=True, shares=SHARES).manifest
    write_tar(folder / "new.tar", [(name, png(NAMES.index(name) + 50)) for name in NAMES[8:12]])
    (folder / "new.tar").replace(folder / "shard-1.tar")

    after, counts = update.update_sources(before, [str(folder)], shares=SHARES)

    assert counts == {"new": 0, "changed": 4, "again": 0, "gone": 4, "unchanged": 9}
    assert after.manifest.table.num_rows == 13


def test_images_of_a_shard_that_cannot_be_read_now_are_not_gone(folder: Path) -> None:
    before = index(folder, content=True, shares=SHARES).manifest
    (folder / "shard-1.tar").write_bytes(b"no longer")

    after, counts = update.update_sources(before, [str(folder)], shares=SHARES)

    assert (counts["gone"], counts["unchanged"]) == (0, 17)
    assert after.warnings[0] == (
        f"not read, or not to the end: {folder}/shard-1.tar (it is not a tar archive)"
    )


def test_manifests_are_made_of_tables_that_name_members(folder: Path) -> None:
    listed = index(folder).manifest.table
    made = Manifest.from_arrow(listed.select(["path", "label"]))

    for name in ("path", "size_bytes", "modified", "etag"):
        assert made.table[name] == listed[name]


def test_parquet_without_images_stays_an_ignored_file(folder: Path) -> None:
    index(folder).manifest.write(folder / "manifest.parquet")
    write_parquet(folder / "more.parquet", [("dog/0", png(1))])

    indexed = index(folder)

    assert indexed.ignored[".parquet"] == 1
    assert not indexed.warnings
    assert columns(indexed, "path", "label")[1] == (f"{folder}/more.parquet::dog/0", "dog")
    assert manifest.read(f"{folder}/manifest.parquet").table.num_rows == 17


def test_an_archive_without_images_says_what_it_has(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("a.json", b"{}")])
    (tmp_path / "b.tar").write_bytes(b"nothing")

    with pytest.raises(InputError, match=r"a\.tar holds no images \(.*\); it has 1 other files\."):
        index(tmp_path / "a.tar")
    with pytest.raises(InputError, match=r"such as .*b\.tar \(it is not a tar archive\)\."):
        index(tmp_path / "b.tar")
    (tmp_path / "c.txt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is one file; give a folder, an archive"):
        sources.open_data(str(tmp_path / "c.txt"))
