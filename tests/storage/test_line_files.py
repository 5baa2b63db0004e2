"""Files that are appended to while others read them."""

import json
from pathlib import Path

import pytest

from cnnjobs.errors import StorageError
from cnnjobs.storage import filesystem, line_files


def test_a_reader_that_follows_the_file_sees_every_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    line_files.append(str(path), "one")
    with path.open() as reader:
        assert reader.read() == "one\n"
        line_files.append(str(path), "two")
        line_files.append(str(path), "three")
        # as `tail -f` does: the same file, from where it has got to
        assert reader.read() == "two\nthree\n"


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (b"", []),
        (b'{"a', []),
        (b'{"a": 1}\n', [{"a": 1}]),
        (b'{"a": 1}\n{"a": 2', [{"a": 1}]),
        (b'{"a": 1}\n\xc3', [{"a": 1}]),
    ],
)
def test_half_a_line_left_by_a_killed_process_is_cut_off(
    tmp_path: Path, before: bytes, kept: list[object]
) -> None:
    path = tmp_path / "lines"
    path.write_bytes(before)

    line_files.append(str(path), json.dumps({"a": 3}))

    assert list(map(json.loads, path.read_text().splitlines())) == [*kept, {"a": 3}]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"lines cannot be written: .*\.$"):
        line_files.append(str(tmp_path / "not there" / "lines"), "one")


def test_on_s3_the_lines_stay_too(s3: str) -> None:
    for line in ("one", "two"):
        line_files.append(f"{s3}/lines", line)

    assert filesystem.read_file(f"{s3}/lines") == b"one\ntwo\n"
