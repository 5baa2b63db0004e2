"""`--exclude`: patterns for files and folders that a job leaves out."""

import logging
from pathlib import Path

import pyarrow as pa
import pytest

from cnnjobs.config import IndexConfig, InspectConfig
from cnnjobs.data import manifest, sources, streamed
from cnnjobs.data.index import index, plan
from cnnjobs.data.inspect import inspect
from cnnjobs.errors import ConfigError, InputError
from cnnjobs.storage import filesystem

FILES = [
    *("a.png", "a_lateral.png", "normal/a.png", "normal/b_lateral.png", "normal/thumbs/a.png"),
    *("opacity/x/raw/a.png", "opacity/raw/y/b.png", "opacity/b.png", "thumbs.png", "[1]/a.png"),
    *("new\nline/a.png", "2019/06/raw/c.png", "2019/raw/d.png", "röntgen/é.png"),
]


@pytest.fixture(params=["local", "s3", "manifest"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    root = request.getfixturevalue("s3") if request.param == "s3" else f"{tmp_path}/xrays"
    for name in FILES:
        filesystem.write_bytes(f"{root}/{name}", b"x")
    if request.param != "manifest":
        return str(root)
    file = f"{tmp_path}/m.parquet"
    index(IndexConfig(sources=(root,), output=file, content=False, split=False))
    return file


def kept(data: str, *patterns: str) -> set[str]:
    opened = sources.open_data(data, for_training=False, exclude=patterns)
    in_file = streamed.open_images(data, exclude=patterns)
    assert pa.concat_tables(in_file.rows("all", opened.table.column_names)).equals(opened.table)
    assert (in_file.settings, in_file.fingerprint) == (opened.settings, opened.fingerprint)
    (root,) = opened.settings["sources"]
    return {filesystem.relative(path, root) for path in opened.table["path"].to_pylist()}


@pytest.mark.parametrize(
    ("patterns", "gone"),
    [
        (["*_lateral.png"], {"a_lateral.png", "normal/b_lateral.png"}),
        (["thumbs"], {"normal/thumbs/a.png"}),
        (["thumbs/"], {"normal/thumbs/a.png"}),
        (["a.png/"], set()),
        (["/thumbs"], set()),
        (["/a.png"], {"a.png"}),
        (["thumbs*"], {"normal/thumbs/a.png", "thumbs.png"}),
        (["normal"], {name for name in FILES if name.startswith("normal/")}),
        (["normal/*.png"], {"normal/a.png", "normal/b_lateral.png"}),
        (["normal/**"], {name for name in FILES if name.startswith("normal/")}),
        (["*/a.png"], {"normal/a.png", "[1]/a.png", "new\nline/a.png"}),
        (["raw"], {name for name in FILES if "/raw/" in name}),
        (["opacity/**/raw"], {"opacity/x/raw/a.png", "opacity/raw/y/b.png"}),
        (["2019/*/raw"], {"2019/06/raw/c.png"}),
        (["**/raw/*.png"], {"opacity/x/raw/a.png", "2019/06/raw/c.png", "2019/raw/d.png"}),
        (["[!a-z]?.png", "?.png"], {f for f in FILES if len(f.rsplit("/", 1)[-1]) == 5}),
        (["[[]1]"], {"[1]/a.png"}),
        (["new?line"], {"new\nline/a.png"}),
        (["r?ntgen"], {"röntgen/é.png"}),
        (["A.PNG", "(a|b).png", "a.p", ".png", "normal/"], {f for f in FILES if "normal/" in f}),
    ],
)
def test_what_matches_is_left_out_wherever_the_images_are(
    data: str, patterns: list[str], gone: set[str]
) -> None:
    assert kept(data, *patterns) == set(FILES) - gone


def test_what_is_excluded_is_counted_and_recorded(tmp_path: Path) -> None:
    for name in FILES:
        filesystem.write_bytes(f"{tmp_path}/xrays/{name}", b"x")
    config = IndexConfig(
        sources=(f"{tmp_path}/xrays",),
        output=f"{tmp_path}/m.parquet",
        content=False,
        split=False,
        exclude=("raw", "*_lateral.png"),
    )
    assert plan(config)["ignored files"] == {"excluded": 2, "excluded folders": 4}
    summary = index(config)

    assert summary.ignored == {"excluded": 2, "excluded folders": 4}
    assert summary.num_images == len(FILES) - 6
    assert manifest.read(summary.manifest).settings["exclude"] == ["raw", "*_lateral.png"]

    again = sources.open_data(summary.manifest, exclude=["thumbs"])
    assert again.settings["exclude"] == ["raw", "*_lateral.png", "thumbs"]
    assert again.settings["ignored"] == {"excluded": 3, "excluded folders": 4}


def test_an_excluded_folder_is_never_listed(tmp_path: Path, open_folder: Path) -> None:
    for name in ("a.png", "snapshot/b.png"):
        filesystem.write_bytes(f"{tmp_path}/{name}", b"x")
    (tmp_path / "snapshot").chmod(0)

    indexed = sources.index_sources(
        [str(tmp_path)], shares=None, content=False, exclude=["snapshot"]
    )

    assert (indexed.left_out, indexed.warnings) == ({}, [])
    assert indexed.ignored == {"excluded folders": 1}


def test_to_exclude_everything_is_an_error(data: str) -> None:
    with pytest.raises(InputError) as caught:
        sources.open_data(data, for_training=False, exclude=["*"])
    assert "\n" not in str(caught.value)
    assert data in str(caught.value)


def test_a_pattern_that_matches_nothing_is_a_warning(
    data: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert kept(data, "nothing", "*.jpg") == set(FILES)
    # in memory and in a file
    assert caplog.messages == 2 * ["exclude nothing, *.jpg matches no file."]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "exclude must name files or folders, got ''."),
        ("/", "exclude must name files or folders, got '/'."),
        ("[z-a]", "exclude is not a pattern: bad character range z-a at position 17, got '[z-a]'."),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        InspectConfig(data="x", exclude=(pattern,))
    assert str(caught.value) == message


def test_inspect_leaves_out_what_matches(archive: Path) -> None:
    everything = inspect(InspectConfig(data=str(archive)))
    some = inspect(InspectConfig(data=str(archive), exclude=("normal",)))
    assert set(some.classes) == set(everything.classes) - {"normal"}
