"""Only regular files are read, and only as much of them as is allowed."""

import os
import threading

import pytest

from cnnjobs.config import regular_files
from cnnjobs.config.regular_files import NotAFileError, TooLargeError
from cnnjobs.errors import StorageError
from cnnjobs.storage import filesystem
from tests.support import hostile_files
from tests.support.s3_server import BUCKET


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pipe.png", "a pipe"),
        ("socket.png", "a socket"),
        ("folder.png", "a folder"),
        ("zero.png", "a device"),
    ],
)
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, name, kind):
    hostile_files.write_unreadable(tmp_path)
    for function in (filesystem.read_bytes, lambda path: filesystem.read_first(path, 4)):
        with pytest.raises(NotAFileError, match=rf"^it is {kind}, not a file$"):
            function(str(tmp_path / name))
    with pytest.raises(StorageError, match=rf"{name} cannot be read: it is {kind}, not a file.$"):
        filesystem.read_file(str(tmp_path / name))


def test_a_sparse_file_of_300_gb_is_refused_by_its_size(tmp_path):
    hostile_files.write_unreadable(tmp_path)
    file = str(tmp_path / "sparse.png")
    message = r"cannot be read: it has 322122547200 bytes, 8589934592 are allowed\.$"
    with pytest.raises(StorageError, match=message):
        filesystem.read_file(file)
    assert filesystem.read_first(file, 4) == bytes(4)


def test_a_file_of_as_many_bytes_as_are_allowed_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert regular_files.read(tmp_path / "file", limit=5) == b"12345"
    with pytest.raises(TooLargeError, match=r"^it has 5 bytes, 4 are allowed$") as caught:
        regular_files.read(tmp_path / "file", limit=4)
    assert caught.value.size == 5


def test_a_file_that_hides_its_size_is_read_as_far_as_is_allowed():
    whole = regular_files.read("/proc/self/status", limit=1 << 20)
    assert whole.startswith(b"Name:")
    with pytest.raises(TooLargeError):
        regular_files.read("/proc/self/status", limit=100)


def test_a_pipe_is_read_where_a_shell_may_give_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    opened = threading.Event()

    def write():
        with (tmp_path / "pipe").open("wb") as file:
            opened.set()
            file.write(b"path,group\n")

    # keeps the pipe open for a writer, as a shell does
    reader = os.open(tmp_path / "pipe", os.O_RDWR)
    writer = threading.Thread(target=write)
    writer.start()
    opened.wait()
    writer.join()
    os.set_blocking(reader, False)
    closer = threading.Timer(0.2, os.close, [reader])
    closer.start()
    assert regular_files.read(tmp_path / "pipe", limit=100, pipes=True) == b"path,group\n"
    closer.join()


def test_a_pipe_without_a_writer_is_empty_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert regular_files.read(tmp_path / "pipe", limit=100, pipes=True) == b""


def test_a_larger_object_on_s3_is_refused_before_its_bytes_arrive(s3):
    uri = f"s3://{BUCKET}/large.png"
    filesystem.write_bytes(uri, bytes(1000))
    assert filesystem.read_bytes(uri, limit=1000) == bytes(1000)
    with pytest.raises(TooLargeError, match=r"^it has 1000 bytes, 999 are allowed$"):
        filesystem.read_bytes(uri, limit=999)
    assert filesystem.read_first(uri, 10) == bytes(10)
