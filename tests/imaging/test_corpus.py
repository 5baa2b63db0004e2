"""Every bad or odd file ends as what it is: by the decoder alone, and by `index`."""

import resource
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cnnjobs.config import constants
from cnnjobs.data import file_checks, sources
from cnnjobs.errors import ImageError
from cnnjobs.imaging import headers, preprocessing, reading, statistics
from tests.support import corpus

SMALL = preprocessing.Preprocessing(height=8, width=8, scaled_jpeg=True)

#: Of too few levels, or with blocks or colors that mean something else.
OTHER_PICTURES = ("1 bit.png", "2 bits.png", "unusual sampling.jpg", "YCCK.jpg")

CHEST = preprocessing.resize(corpus.CHEST, height=8, width=8).astype(int)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "files"
    return folder, corpus.write(folder)


def _outcome(path, keep_damaged):
    try:
        data = reading.read_image(str(path))
        decoded = preprocessing.decode(data, SMALL, keep_damaged=keep_damaged)
    except ImageError as error:
        return error.category, None
    return corpus.WARNING if decoded.warning else corpus.SOUND, decoded


def test_the_corpus_is_large(written):
    assert len(written[1]) >= 60


@pytest.mark.parametrize("keep_damaged", [False, True])
def test_every_file_is_what_it_is_said_to_be(written, keep_damaged):
    folder, outcomes = written
    wanted = {
        name: outcome.kept if keep_damaged else outcome.default
        for name, outcome in outcomes.items()
        if outcome.default != corpus.ABSENT
    }
    found = {name: _outcome(folder / name, keep_damaged)[0] for name in wanted}
    assert found == wanted


def test_every_sound_file_of_the_chest_shows_the_chest(written):
    folder, outcomes = written
    seen = 0
    for name, outcome in outcomes.items():
        if outcome.default not in (corpus.SOUND, corpus.WARNING):
            continue
        decoded = _outcome(folder / name, False)[1]
        upright = (decoded.width, decoded.height) == (corpus.WIDTH, corpus.HEIGHT)
        if upright and name not in OTHER_PICTURES:
            assert np.abs(decoded.pixels[:, :, 0] - CHEST).mean() < 10, name
            seen += 1
    assert seen > 60


def test_no_file_takes_much_memory(written):
    folder, outcomes = written
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, outcome in outcomes.items():
        if outcome.default != corpus.ABSENT:
            _outcome(folder / name, True)
    # KiB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_nothing_is_printed(written, capfd):
    folder, outcomes = written
    for name, outcome in outcomes.items():
        if outcome.default != corpus.ABSENT:
            _outcome(folder / name, True)
    printed = "".join(capfd.readouterr()).splitlines()
    # what no setting silences: OpenCV's libpng and libjpeg, and Pillow's libtiff
    known = ("libpng error: ", "tempfile.tif: ", "Corrupt JPEG data: ")
    assert [line for line in printed if not line.startswith(known)] == []


def test_index_lists_all_but_directories_and_pipes(written):
    folder, outcomes = written
    table = sources.index_sources([str(folder)], shares=None).manifest.table
    found = {
        path.rpartition("/")[2]: (error or corpus.SOUND).split(":")[0]
        for path, error in zip(
            *(table[name].to_pylist() for name in ("path", "error")), strict=True
        )
    }
    wanted = {
        name: corpus.SOUND if outcome.default == corpus.WARNING else outcome.default
        for name, outcome in outcomes.items()
        if outcome.default != corpus.ABSENT
    }
    assert found == wanted


#: A classic and a big TIFF whose first directory lies beyond any file, and beyond any integer.
BEYOND = {
    "beyond.tif": b"II*\0" + b"\xff" * 4 + bytes(8),
    "far beyond.tif": b"II+\0\x08\0\0\0" + b"\xff" * 8,
    "beyond, big-endian.tif": b"MM\0+\0\x08\0\0" + b"\xff" * 8,
}


@pytest.mark.parametrize("name", BEYOND)
def test_every_look_at_a_file_gives_its_error(tmp_path, name):
    (tmp_path / name).write_bytes(BEYOND[name])
    file = str(tmp_path / name)
    with pytest.raises(ImageError) as caught:
        statistics.open_image(file)
    error = str(caught.value)
    assert error.startswith(("damaged: ", "truncated: "))
    assert file_checks.check_file(file)["error"] == error
    assert file_checks.patients([file], b"key") == [None]
    assert statistics.measure(file).error == error
    assert statistics.thumbnail(file) is None
    assert str(reading.load(file, SMALL)) == error
    with pytest.raises(ImageError):
        headers.read(BEYOND[name])


def _mutated(data, rng):
    """Return the bytes with a few changed, cut off, or a piece lost."""
    how = rng.integers(5)
    if how == 0:
        return data[: rng.integers(len(data))]
    if how == 1:
        start = rng.integers(len(data))
        return data[:start] + data[start + rng.integers(1, 20) :]
    changed = bytearray(data)
    # half of them where the headers stand
    end = min(len(data), 200) if how < 4 else len(data)
    for place in rng.integers(0, end, rng.integers(1, 8)):
        changed[place] = rng.choice([0, 1, 255, rng.integers(256), changed[place] ^ 0x80])
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_any_other_bytes_give_pixels_or_an_error(seed):
    rng = np.random.default_rng(seed)
    allowed = preprocessing.Preprocessing(height=8, width=8, scaled_jpeg=True, max_pixels=10**7)
    ends = Counter()
    for odd in corpus.files().values():
        for number in range(10 if odd.data else 0):
            data = _mutated(odd.data, rng)
            try:
                kept = preprocessing.decode(
                    data, allowed, keep_damaged=number % 2 > 0, any_modality=True
                )
                ends[corpus.WARNING if kept.warning else corpus.SOUND] += 1
            except ImageError as error:
                ends[error.category] += 1
    assert ends.total() > 1500
    assert set(ends) <= {*constants.ERROR_CATEGORIES, corpus.WARNING, corpus.SOUND}
    assert min(ends[end] for end in ("sound", "warning", "damaged", "truncated")) > 50


def test_many_threads_decode_to_the_same_as_one(written):
    folder, outcomes = written
    names = [name for name, outcome in outcomes.items() if outcome.default != corpus.ABSENT]

    def decoded(name):
        category, result = _outcome(folder / name, True)
        return category, None if result is None else result.pixels.tobytes()

    alone = list(map(decoded, names))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(decoded, names)) == alone
