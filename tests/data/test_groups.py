"""`--groups`: a file per source, patterns, and images without a group."""

import pytest

from cnnjobs.config import IndexConfig
from cnnjobs.data import manifest
from cnnjobs.data.index import index
from cnnjobs.errors import InputError
from tests.support.label_tables import touch


@pytest.fixture
def two(tmp_path):
    """Two hospitals with three images each, of patients with the same numbers."""
    for hospital in ("north", "south"):
        for name in ("p1/a.png", "p1/b.png", "p2/c.png"):
            touch(tmp_path / hospital / name)
    return tmp_path


def groups(folder, *files, sources=("north", "south"), **settings):
    config = IndexConfig(
        sources=tuple(f"{folder}/{source}" for source in sources),
        output=f"{folder}/m.parquet",
        groups=files,
        content=False,
        split=False,
        labels=False,
        overwrite=True,
        **settings,
    )
    rows = manifest.read(index(config).manifest).table.to_pylist()
    return [row["group"] for row in rows]


def write(folder, name, *lines):
    (folder / name).write_text("\n".join(["path,group", *lines]) + "\n")
    return f"{folder}/{name}"


def test_each_source_may_have_its_own_file(two):
    one = write(two, "n.csv", "p1/a.png,1", "p1/b.png,1", "p2/c.png,2")
    other = write(two, "s.csv", "p1/a.png,1", "p1/b.png,2", "p2/c.png,3")
    assert groups(two, f"north={one}", f"south={other}") == [
        "north/1", "north/1", "north/2", "south/1", "south/2", "south/3",
    ]  # fmt: skip


def test_several_files_for_all_sources_complete_each_other(two):
    one = write(two, "n.csv", f"{two}/north/p1/a.png,1", f"{two}/north/p1/b.png,1")
    other = write(two, "s.csv", "p2/c.png,2", "p1/a.png,3", "p1/b.png,3")
    assert groups(two, one, other) == ["1", "1", "2", "3", "3", "2"]


def test_a_file_with_an_equals_sign_in_its_name_is_a_file(two):
    file = write(two, "a=b.csv", "p1/*,1", "p2/*,2")
    assert groups(two, file) == ["1", "1", "2"] * 2


def test_patterns_stand_for_many_paths_and_whole_paths_come_first(two):
    file = write(two, "g.csv", "p1/*,1", "p?/c.png,2", "p1/b.png,9")
    assert groups(two, file) == ["1", "9", "2"] * 2
    file = write(two, "g.csv", "p1,1", "p2/**,2")
    with pytest.raises(InputError, match=r"no group for 4 of 6 images, such as p1/a\.png"):
        groups(two, file)


def test_two_patterns_that_disagree_are_an_error(two):
    file = write(two, "g.csv", "p1/*,1", "*/a.png,2", "p2/*,3")
    with pytest.raises(InputError) as caught:
        groups(two, file)
    assert str(caught.value) == f"{file} assigns two groups to p1/a.png; keep one."


def test_images_without_a_group_are_an_error_or_their_own(two):
    file = write(two, "g.csv", "p1/*,1")
    with pytest.raises(InputError) as caught:
        groups(two, file)
    assert str(caught.value) == (
        f"{file} has no group for 2 of 6 images, such as p2/c.png; every image needs one, or add "
        "--groups-missing own."
    )
    assert groups(two, file, groups_missing="own") == [
        "1", "1", "north/p2/c.png", "1", "1", "south/p2/c.png",
    ]  # fmt: skip


def test_images_of_their_own_are_counted(two):
    file = write(two, "g.csv", "p1/*,1")
    config = IndexConfig(
        sources=(f"{two}/north",), output=f"{two}/m.parquet", groups=(file,),
        groups_missing="own", content=False, split=False, labels=False,
    )  # fmt: skip
    assert index(config).warnings == ["1 of 3 images have no group and are each their own"]


def test_an_expression_with_a_slash_reads_the_folders(two):
    found = groups(two, group_regex=r"^(p\d)/")
    assert found == ["p1", "p1", "p2"] * 2


@pytest.mark.parametrize("place", ["north/groups.csv", "groups.csv"])
def test_a_groups_file_beside_the_images_that_is_not_used_is_mentioned(two, place):
    file = write(two, place, "p1/*,1", "p2/*,2")
    settings = {
        "sources": (f"{two}/north",), "content": False, "split": False, "labels": False,
        "output": f"{two}/m.parquet", "overwrite": True,
    }  # fmt: skip
    assert index(IndexConfig(**settings)).warnings == [
        f"{file} is not used; add --groups {file} to keep the images of a patient together"
    ]
    assert index(IndexConfig(**settings, groups=(file,))).warnings == []


def test_one_file_is_given_as_before(two):
    file = write(two, "g.csv", "p1/*,1", "p2/*,2")
    config = IndexConfig(sources=("x",), output="m", groups=file)
    assert config.groups == (file,)
