"""Names that are not UTF-8, and folders that cannot be listed: the job goes on."""

import errno
import itertools
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnjobs.cli.index import index_text
from cnnjobs.config import IndexConfig, InspectConfig
from cnnjobs.data import file_checks, sources
from cnnjobs.data.index import index
from cnnjobs.data.inspect import inspect
from cnnjobs.errors import StorageError
from cnnjobs.storage import filesystem, local_listing
from tests.support.cli import run_here
from tests.support.disks import fail_to_list

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def tree(tmp_path: Path, archive: Path) -> Path:
    """A few readable drawings in two classes."""
    folder = tmp_path / "xrays"
    for label in ("normal", "opacity"):
        (folder / label).mkdir(parents=True)
        images = (path for path in sorted(archive.glob(f"{label}/*.png")) if _is_readable(path))
        for path in itertools.islice(images, 4):
            shutil.copy(path, folder / label)
    return folder


def _is_readable(path: Path) -> bool:
    return "error" not in file_checks.check_file(str(path))


def _put(folder: Path, name: bytes, data: bytes = PNG) -> None:
    path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118 - bytes
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(data)


def _paths(folder: Path) -> dict[str, str | None]:
    """Error by path below the folder."""
    table = sources.index_sources([str(folder)], shares=None).manifest.table
    return {
        filesystem.relative(row["path"], str(folder)): row["error"] for row in table.to_pylist()
    }


BAD = "unreadable: its name is not UTF-8; rename the file"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"normal/caf\xe9.png", r"normal/caf\xe9.png"),
        (b"caf\xe9/a.png", r"caf\xe9/a.png"),
        (b"\xff\xfe/\x80/\xc3\x28.png", r"\xff\xfe/\x80/\xc3(.png"),
        (b"normal/\xed\xb3\xbf.png", r"normal/\xed\xb3\xbf.png"),
        (b"normal/old\xa0.PNG", r"normal/old\xa0.PNG"),
    ],
)
def test_an_image_whose_name_is_not_utf_8_is_a_row_with_its_error(
    tree: Path, name: bytes, shown: str
) -> None:
    before = _paths(tree)
    _put(tree, name)

    assert _paths(tree) == {**before, shown: BAD}


def test_other_files_whose_names_are_not_utf_8_are_counted(tree: Path) -> None:
    for name in (b"n\xf6te.txt", b"n\xf6te", b"caf\xe9/x.csv", b"x.\xe9", b".\xe9"):
        _put(tree, name)
    (tree / "link.png").symlink_to(os.fsdecode(b"/gone/caf\xe9.png"))
    (tree / "folder").symlink_to(os.fsdecode(os.fsencode(tree) + b"/caf\xe9"))

    indexed = sources.index_sources([str(tree)], shares=None)

    assert indexed.ignored == {".txt": 1, "no suffix": 1, ".csv": 1, r".\xe9": 1, "hidden": 1}
    assert _paths(tree)["link.png"] == "missing: the file is gone"


def test_a_file_that_has_the_escaped_name_keeps_its_own_row(tree: Path) -> None:
    _put(tree, b"caf\xe9.png")
    shutil.copy(next(tree.glob("normal/*.png")), tree / r"caf\xe9.png")

    rows = _paths(tree)
    assert rows[r"caf\xe9.png"] is None
    assert not local_listing.is_escaped(f"{tree}/plain.png")


def test_a_listing_without_content_says_so_too(tree: Path, tmp_path: Path) -> None:
    from cnnjobs.imaging.preprocessing import Preprocessing
    from cnnjobs.imaging.reading import Policy, load

    _put(tree, b"caf\xe9.png")
    (path,) = (
        path
        for path in sources.open_data(str(tree), for_training=False).table["path"].to_pylist()
        if "caf" in path
    )
    assert str(load(path, Preprocessing(height=8, width=8), Policy())) == BAD


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff/a", b"a\x00b"])
def test_a_name_on_the_command_line_that_is_not_utf_8_is_one_line(name: bytes) -> None:
    with pytest.raises(StorageError) as caught:
        filesystem.normalize(os.fsdecode(name))
    assert str(caught.value).isprintable()


# folders


@pytest.fixture
def guarded(tree: Path, open_folder: Path) -> Path:
    """The drawings among folders that only root can list or enter."""
    shutil.copytree(tree, open_folder, dirs_exist_ok=True)
    open_folder.chmod(0o755)
    for name, mode in {"lost+found": 0, ".Trash-0": 0, "patient": 0o444, "odd": 0o666}.items():
        (open_folder / name / "deep").mkdir(parents=True)
        (open_folder / name / "a.png").write_bytes(PNG)
        (open_folder / name).chmod(mode)
    (open_folder / ".git/objects").mkdir(parents=True)
    return open_folder


def test_folders_without_permission_are_left_out_counted_and_named(
    guarded: Path, plain_user: None
) -> None:
    indexed = sources.index_sources([str(guarded)], shares=None)

    assert indexed.ignored == {"unreadable folders": 3, "hidden folders": 2}
    reasons = {filesystem.relative(k, str(guarded)): v for k, v in indexed.left_out.items()}
    assert reasons == {
        ".git": "hidden",
        ".Trash-0": "hidden",
        "lost+found": "Permission denied",
        "odd/deep": "Permission denied",
        "patient/deep": "Permission denied",
    }
    assert indexed.manifest.settings["unlisted"] == [
        f"{guarded}/{name}" for name in ("lost+found", "odd/deep", "patient/deep")
    ]
    errors = {row["path"]: row["error"] for row in indexed.manifest.table.to_pylist()}
    for name in ("odd", "patient"):
        # its name is known, so it is a row
        assert errors[f"{guarded}/{name}/a.png"] == "permission: reading the file is not permitted"


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOENT, errno.ELOOP])
def test_a_folder_that_fails_or_vanishes_while_it_is_listed_is_left_out(
    tree: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_list("normal", monkeypatch, code)

    indexed = sources.index_sources([str(tree)], shares=None)

    assert indexed.left_out == {f"{tree}/normal": os.strerror(code)}
    assert indexed.manifest.table.num_rows == 4


def test_a_disk_that_vanishes_while_it_is_listed_is_an_error(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir, calls = os.scandir, []

    def failing(path: str) -> Any:
        calls.append(path)
        if len(calls) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(StorageError, match=r"^.*/xrays cannot be listed: Input/output error"):
        sources.index_sources([str(tree)], shares=None)


def test_a_file_that_vanishes_while_its_folder_is_listed_has_no_row(tree: Path) -> None:
    _put(tree, b"new.png")
    tables = local_listing.tables(str(tree), left_out=lambda *_: None)
    entries = sorted(os.scandir(tree), key=lambda entry: entry.name)
    (tree / "new.png").unlink()
    (entry,) = (entry for entry in entries if entry.name == "new.png")

    assert list(local_listing._row(entry)) == []
    assert sum(table.num_rows for table in tables) == 8


def test_folders_nested_deeper_than_python_recurses_are_listed(tree: Path) -> None:
    here = os.getcwd()  # noqa: PTH109
    try:
        os.chdir(tree)
        for _ in range(1500):
            os.mkdir("d")  # noqa: PTH102
            os.chdir("d")
        os.chdir(here)
        indexed = sources.index_sources([str(tree)], shares=None)
    finally:
        os.chdir(here)
        # deeper than pytest can delete
        subprocess.run(["rm", "-rf", tree / "d"], check=True)

    assert indexed.manifest.table.num_rows == 8


def test_the_text_of_an_index_names_what_was_left_out(tree: Path, tmp_path: Path) -> None:
    for number in range(5):
        (tree / f".hidden{number}").mkdir()
    summary = index(IndexConfig(sources=(str(tree),), output=f"{tmp_path}/m.parquet", split=False))

    lines = index_text(summary).splitlines()
    assert (
        f"warning: left out 5 folders: {tree}/.hidden0 (hidden), {tree}/.hidden1 (hidden), "
        f"{tree}/.hidden2 (hidden) and 2 more" in lines
    )
    assert "ignored: hidden folders 5" in lines


def test_a_command_on_a_folder_warns_of_what_was_left_out(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / ".git\x1b").mkdir()
    with caplog.at_level(logging.WARNING):
        inspect(InspectConfig(data=str(tree)))
    assert caplog.messages == [f"left out 1 folder: {tree}/.git\\x1b (hidden)"]


def test_a_command_prints_the_warning_once(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    (tree / ".git").mkdir()
    for flags in ([], ["--quiet"], ["--json"], ["-v"]):
        code, _, err = run_here(capsys, "inspect", str(tree), *flags)
        assert code == 0
        assert err.count(f"left out 1 folder: {tree}/.git (hidden)") == 1


def test_a_time_that_no_date_reaches_is_unknown() -> None:
    table = local_listing._table([("/a", 1, 400_000_000_000 * 10**9), ("/b", 1, 10**18)])

    assert [row["modified"] is None for row in table.to_pylist()] == [True, False]
