"""What cannot be read becomes an error of its image, whatever it is."""

import threading
import time

import pyarrow as pa
import pytest

from cnnjobs.data import file_checks
from cnnjobs.errors import ImageError, SourceError
from cnnjobs.imaging import decoder, memory, reading, statistics
from cnnjobs.imaging.decoder import Decoder
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.imaging.reading import Policy
from tests.support import hostile_files, image_files
from tests.support.corpus import CHEST
from tests.support.odd_server import NO_KEY

SMALL = Preprocessing(height=8, width=8)

ERRORS = {
    "folder.png": "not an image: it is a folder, not a file",
    "pipe.png": "not an image: it is a pipe, not a file",
    "proc.png": "not an image: it does not begin like any known image format",
    "socket.png": "not an image: it is a socket, not a file",
    "sparse.png": "too large: 322122547200 bytes, but max_bytes allows 536870912",
    "zero.png": "not an image: it is a device, not a file",
}


def _error(path, **options):
    with pytest.raises(ImageError) as caught:
        reading.read_image(str(path), **options)
    return str(caught.value)


def _decoded(paths, sizes, policy=None):
    rows = pa.table({"path": [str(path) for path in paths], "size_bytes": sizes})
    images = Decoder([SMALL], policy or Policy(), threads=2).begin(rows)
    return [image().decoded for image in images]


def test_what_never_ends_or_is_no_file_is_an_error_of_its_row(tmp_path):
    paths = hostile_files.write_unreadable(tmp_path)
    found = _decoded(paths, [0] * len(paths))
    assert dict(zip([path.name for path in paths], map(str, found), strict=True)) == ERRORS
    assert {path.name: file_checks.check_file(str(path))["error"] for path in paths} == ERRORS


@pytest.mark.parametrize("stated", [0, 1, 10**6, 1 << 40])
def test_the_size_in_a_manifest_is_not_believed(tmp_path, stated):
    png = image_files.png(CHEST)
    large = png[:-12] + image_files.chunk(b"teXt", bytes(200_000)) + png[-12:]
    (tmp_path / "a.png").write_bytes(large)
    (found,) = _decoded([tmp_path / "a.png"], [stated])
    assert not isinstance(found, ImageError)


def test_more_bytes_than_are_allowed_are_too_large(tmp_path):
    (tmp_path / "a.png").write_bytes(bytes(101))
    message = "too large: 101 bytes, but max_bytes allows 100"
    assert _error(tmp_path / "a.png", max_bytes=100) == message
    policy = Policy(max_bytes=100)
    assert str(_decoded([tmp_path / "a.png"], [101], policy)[0]) == message
    assert str(reading.load(str(tmp_path / "a.png"), SMALL, policy)) == message


def test_a_file_that_grows_while_it_is_read_is_unreadable(tmp_path):
    file = tmp_path / "growing.png"
    file.write_bytes(bytes(100_000))

    def grow(size):
        assert size == 100_000
        with file.open("ab") as opened:
            opened.write(b"more")

    message = "unreadable: the file grows while it is read"
    assert _error(file, expected=1000, make_room=grow) == message


def test_a_name_that_no_file_can_have_is_missing(tmp_path):
    assert _error(f"{tmp_path}/a\0b.png") == "missing: no file can have this name"


def test_a_fault_of_the_storage_ends_every_look_at_a_file(odd):
    odd.answer = lambda method, path: NO_KEY
    message = r"^s3://b/a.png cannot be read \(unreadable: .*\); restore access to the images, "
    for look in (file_checks.check_file, statistics.measure):
        with pytest.raises(SourceError, match=message):
            look("s3://b/a.png")
    with pytest.raises(SourceError, match=message):
        file_checks.patients(["s3://b/a.png"], b"key")


def test_a_large_image_waits_until_others_have_given_back_their_memory():
    budget, order = memory.Budget(100), []
    budget.take(60)

    def wait():
        budget.take(1000)
        order.append("large")

    thread = threading.Thread(target=wait)
    thread.start()
    order.append("small")
    budget.give_back(60)
    thread.join()
    budget.give_back(1000)
    budget.take(100)
    assert order == ["small", "large"]


@pytest.fixture
def gated(monkeypatch):
    """The paths that a decoder reads, all of the same file, an event that lets them be decoded."""
    content, read, gate = image_files.png(CHEST), [], threading.Event()

    def read_image(path, *_, **__):
        read.append(path)
        return content

    def decoded(*arguments):
        gate.wait()
        return decode(*arguments)

    decode = reading.decoded
    monkeypatch.setattr(reading, "read_image", read_image)
    monkeypatch.setattr(reading, "decoded", decoded)
    return read, gate


def _rows(name, number):
    paths = [f"{name}{place}" for place in range(number)]
    return pa.table({"path": paths, "size_bytes": [1] * number})


def _wait_until(is_so):
    while not is_so():
        time.sleep(0.01)


def test_no_more_files_are_read_than_are_soon_decoded(gated, monkeypatch):
    monkeypatch.setattr(decoder, "_NUM_READERS", 3)
    read, gate = gated
    images = Decoder([SMALL], Policy(), threads=2).begin(_rows("a", 40))
    _wait_until(lambda: len(read) == 10)
    time.sleep(0.2)
    assert len(read) == 10
    gate.set()
    assert not any(isinstance(image().decoded, ImageError) for image in images)
    assert len(read) == 40


def test_what_is_done_sooner_is_read_before_the_rest(gated, monkeypatch):
    monkeypatch.setattr(decoder, "_NUM_READERS", 1)
    monkeypatch.setattr(decoder, "_FILES_AHEAD", 0.5)
    read, gate = gated
    both = Decoder([SMALL], Policy(), threads=1)
    many, few = both.begin(_rows("many", 5)), both.begin(_rows("few", 2))
    gate.set()
    for image in (*many, *few):
        image()
    assert read == ["many0", "few0", "few1", "many1", "many2", "many3", "many4"]


def test_an_error_without_words_has_a_reason_all_the_same(monkeypatch):
    # an operating system that says nothing cannot be had otherwise
    def read_bytes(path, limit):
        raise OSError

    monkeypatch.setattr(reading.filesystem, "read_bytes", read_bytes)
    with pytest.raises(ImageError, match=r"^unreadable: reading the file failed$"):
        reading.read_image("some.png")
