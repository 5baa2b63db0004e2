import gzip
import importlib
import json
import os
import struct
import subprocess
import sys
import types
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnjobs.config import FetchConfig
from cnnjobs.data import covid, manifest, mnist
from cnnjobs.data.fetch import fetch, plan
from cnnjobs.data.phantoms import phantom
from cnnjobs.data.sources import index_sources
from cnnjobs.errors import InputError, RunExistsError, StorageError
from cnnjobs.imaging import preprocessing
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.storage import filesystem
from cnnjobs.training import decoded_images
from tests.support.paths import ROOT

REAL = os.environ.get("CNNJOBS_REAL_DATA", "")
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = mnist.IDX_FILES
BY_HAND = (
    "download the zip in a browser "
    "(https://www.kaggle.com/datasets/alifrahman/covid19-chest-xray-image-dataset) and run: "
    "cnnjobs fetch covid --from archive.zip -o DIR (or unzip it and run: cnnjobs index FOLDER "
    "-o manifest.parquet)"
)


def _arrays():
    """240 training and 60 test images of noise, the classes in turn."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (300, 28, 28), np.uint8)
    labels = (np.arange(300) % 10).astype(np.uint8)
    return {
        TRAIN_IMAGES: pixels[:240],
        TRAIN_LABELS: labels[:240],
        TEST_IMAGES: pixels[240:],
        TEST_LABELS: labels[240:],
    }


def _idx(array):
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def _write_idx(folder, arrays=None, *, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (arrays or _arrays()).items():
        data = _idx(array)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(data) if packed else data)
    return folder


def _write_npz(path, **changed):
    names = {"x_train": TRAIN_IMAGES, "y_train": TRAIN_LABELS}
    names |= {"x_test": TEST_IMAGES, "y_test": TEST_LABELS}
    arrays = {key: _arrays()[name] for key, name in names.items()} | changed
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The four idx files."""
    return _write_idx(tmp_path_factory.mktemp("mnist") / "digits")


@pytest.fixture(scope="module")
def xrays(tmp_path_factory):
    """The Kaggle set's folders, with what a Mac leaves beside them and a file that is no image."""
    root = tmp_path_factory.mktemp("covid") / "archive"
    for number in range(16):
        label = ("covid", "normal")[number % 2]
        pixels = phantom(np.random.default_rng(number), height=72, width=80, opacity=False)
        path = root / "dataset" / label / f"p{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels)
    (root / "dataset" / "notes.txt").write_text("x")
    for label in ("covid", "normal"):
        (root / "__MACOSX" / "dataset" / label).mkdir(parents=True)
        (root / "__MACOSX" / "dataset" / label / "._p00.png").write_bytes(b"x")
    return root


@pytest.fixture(scope="module")
def archive_zip(xrays):
    path = xrays.parent / "archive.zip"
    with zipfile.ZipFile(path, "w") as file:
        for image in sorted(xrays.rglob("*.*")):
            file.write(image, image.relative_to(xrays))
    return path


def _fetch(source, output, dataset="mnist", **settings):
    return fetch(FetchConfig(dataset=dataset, source=str(source), output=str(output), **settings))


def _rows(summary):
    return manifest.read(summary.manifest).table.to_pylist()


def _refusal(job, *arguments, kind=InputError, **settings):
    with pytest.raises(kind) as caught:
        job(*arguments, **settings)
    return str(caught.value)


@pytest.mark.parametrize("given", ["plain", "gz", "one", "dots", "npz", "npz folder"])
def test_idx_and_npz_give_the_pixels_and_labels_that_numpy_reads(tmp_path, given):
    source = tmp_path / "source"
    if given.startswith("npz"):
        source.mkdir()
        path = _write_npz(source / "mnist.npz")
        source = path if given == "npz" else source
    else:
        _write_idx(source, packed=given == "gz")
        if given == "one":
            source = source / TEST_LABELS
        if given == "dots":
            for path in source.iterdir():
                path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    read = mnist.read(str(source))
    known = _arrays()
    np.testing.assert_array_equal(read.train_images, known[TRAIN_IMAGES])
    np.testing.assert_array_equal(read.train_labels, known[TRAIN_LABELS])
    np.testing.assert_array_equal(read.test_images, known[TEST_IMAGES])
    np.testing.assert_array_equal(read.test_labels, known[TEST_LABELS])


@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_magic_number_is_reported(tmp_path, packed):
    arrays = _arrays() | {TRAIN_IMAGES: _arrays()[TRAIN_LABELS]}
    folder = _write_idx(tmp_path / "d", arrays, packed=packed)
    path = f"{folder}/{TRAIN_IMAGES}{'.gz' if packed else ''}"
    assert _refusal(mnist.read, str(folder)) == (
        f"{path} must begin with 0x00000803 (idx, bytes, 3 dimensions), it begins with 0x00000801."
    )


def test_an_empty_idx_file_is_reported(tmp_path):
    folder = _write_idx(tmp_path / "d")
    (folder / TEST_LABELS).write_bytes(b"")
    assert _refusal(mnist.read, str(folder)) == (
        f"{folder}/{TEST_LABELS} must begin with 0x00000801 (idx, bytes, 1 dimensions), "
        "it is empty."
    )


@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_number_of_bytes_is_reported(tmp_path, change):
    folder = _write_idx(tmp_path / "d")
    data = (folder / TEST_IMAGES).read_bytes() + b"x"
    (folder / TEST_IMAGES).write_bytes(data[: len(data) - 1 + change])
    assert _refusal(mnist.read, str(folder)) == (
        f"{folder}/{TEST_IMAGES} declares 60 x 28 x 28 bytes and holds {47040 + change}; "
        "fetch it again."
    )


def test_an_idx_file_cut_within_its_sizes_is_reported(tmp_path):
    folder = _write_idx(tmp_path / "d")
    (folder / TEST_IMAGES).write_bytes((folder / TEST_IMAGES).read_bytes()[:10])
    assert _refusal(mnist.read, str(folder)) == (
        f"{folder}/{TEST_IMAGES} declares no bytes and holds 0; fetch it again."
    )


def test_missing_files_are_named(tmp_path):
    folder = _write_idx(tmp_path / "d", packed=True)
    (folder / f"{TRAIN_LABELS}.gz").unlink()
    (folder / f"{TEST_IMAGES}.gz").unlink()
    message = (
        f"{folder} lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte (plain or .gz); "
        "put all four idx files there, or mnist.npz."
    )
    assert _refusal(mnist.read, str(folder)) == message
    assert _refusal(mnist.read, f"{folder}/{TEST_LABELS}.gz") == message


def test_a_source_that_is_missing_or_another_file_is_reported(tmp_path):
    assert _refusal(mnist.read, f"{tmp_path}/gone") == (
        f"{tmp_path}/gone does not exist; give mnist.npz, or a folder with the four idx files."
    )
    (tmp_path / "x.zip").write_bytes(b"")
    assert _refusal(mnist.read, f"{tmp_path}/x.zip") == (
        f"{tmp_path}/x.zip is neither mnist.npz nor one of {', '.join(mnist.IDX_FILES)} "
        "(plain or .gz)."
    )


@pytest.mark.parametrize("damage", ["cut", "checksum", "bits", "header"])
def test_a_damaged_gzip_file_is_reported(tmp_path, damage):
    folder = _write_idx(tmp_path / "d", packed=True)
    path = folder / f"{TRAIN_IMAGES}.gz"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "header":
        del data[3:]
    else:
        place = -5 if damage == "checksum" else len(data) // 2
        data[place] ^= 0xFF
    path.write_bytes(data)
    assert _refusal(mnist.read, str(folder)) == f"{path} is damaged or truncated; fetch it again."


def test_a_damaged_npz_is_reported(tmp_path):
    path = _write_npz(tmp_path / "mnist.npz")
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"nothing"):
        path.write_bytes(damaged)
        assert _refusal(mnist.read, str(path)) == (
            f"{path} is damaged or not an .npz file; fetch it again."
        )
    flipped = bytearray(data)
    flipped[5000] ^= 0xFF
    path.write_bytes(flipped)
    assert (
        _refusal(mnist.read, str(path)) == f"{path} is damaged or not an .npz file; fetch it again."
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"y_test": None},
            "{} is not MNIST as distributed by Keras: it must contain x_train, y_train, x_test, "
            "y_test.",
        ),
        (
            {"y_train": np.zeros(9, np.uint8)},
            "{}: the train part must have a label for each image, and at least one; "
            "got 240 images and 9 labels.",
        ),
        (
            {"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, np.uint8)},
            "{}: the test part must have a label for each image, and at least one; "
            "got 0 images and 0 labels.",
        ),
        (
            {"x_test": np.zeros((60, 28, 28), np.float32)},
            "{}: the test images must be uint8 of 3 dimensions, got float32 (60, 28, 28).",
        ),
        (
            {"y_test": np.full(60, 26, np.uint8)},
            "{}: the test labels must be 0 to 9, got 26.",
        ),
    ],
)
def test_arrays_that_are_not_mnist_are_reported(tmp_path, changed, message):
    path = _write_npz(tmp_path / "mnist.npz", **changed)
    assert _refusal(mnist.read, str(path)) == message.format(path)


def test_the_files_decode_to_exactly_the_pixels(digits, tmp_path):
    summary = _fetch(digits, tmp_path / "out")
    table = manifest.read(summary.manifest).table
    decoded = decoded_images.decode_rows(table, Preprocessing(height=28, width=28))
    known = _arrays()
    pixels = np.concatenate([known[TRAIN_IMAGES], known[TEST_IMAGES]])
    labels = np.concatenate([known[TRAIN_LABELS], known[TEST_LABELS]])
    np.testing.assert_array_equal(decoded_images.pixels_of(decoded)[..., 0], pixels)
    assert table["label"].to_pylist() == [str(label) for label in labels]
    data = Path(table["path"][7].as_py()).read_bytes()
    assert preprocessing.read_gray(data, max_pixels=784).shape == (28, 28)


def test_the_manifest_is_what_index_would_say_of_the_folder(digits, tmp_path):
    summary = _fetch(digits, tmp_path / "out")
    assert summary.archive == f"{tmp_path}/out/mnist"
    assert sorted(path.name for path in Path(summary.archive).iterdir()) == list("0123456789")
    indexed = index_sources([summary.archive], shares=None).manifest.table.to_pylist()
    fetched = sorted(_rows(summary), key=lambda row: row["path"])
    # the time of writing would make every fetch another manifest
    told_apart = {"modified": None, "split": None}
    assert [row | told_apart for row in fetched] == [row | told_apart for row in indexed]
    assert {row["modified"] for row in fetched} == {None}
    assert fetched[0]["path"] == f"{tmp_path}/out/mnist/0/test-00000.png"


def test_official_test_images_are_the_test_and_validation_is_a_share_of_training(digits, tmp_path):
    summary = _fetch(digits, tmp_path / "out", validation=0.25)
    assert summary.counts == {
        str(label): {"train": 18, "validation": 6, "test": 6} for label in range(10)
    }
    for row in _rows(summary):
        assert (row["split"] == "test") == ("/test-" in row["path"])


def test_the_default_share_is_a_twelfth_and_none_can_be_had(digits, tmp_path):
    counts = Counter(row["split"] for row in _rows(_fetch(digits, tmp_path / "a")))
    assert counts == {"train": 220, "validation": 20, "test": 60}
    counts = Counter(row["split"] for row in _rows(_fetch(digits, tmp_path / "b", validation=0.0)))
    assert counts == {"train": 240, "test": 60}


def test_copies_stay_together_and_out_of_training_where_the_test_has_them(tmp_path):
    arrays = _arrays()
    arrays[TRAIN_IMAGES] = arrays[TRAIN_IMAGES].copy()
    for copy in range(10, 110, 10):
        arrays[TRAIN_IMAGES][copy] = arrays[TRAIN_IMAGES][0]
    arrays[TRAIN_IMAGES][5] = arrays[TEST_IMAGES][5]
    summary = _fetch(_write_idx(tmp_path / "d", arrays), tmp_path / "out", validation=0.25)
    assert summary.num_exact_copies == 11
    rows = _rows(summary)
    assert len({rows[copy]["group"] for copy in range(0, 110, 10)}) == 1
    assert len({rows[copy]["split"] for copy in range(0, 110, 10)}) == 1
    assert rows[5]["group"] == rows[245]["group"]
    assert (rows[5]["split"], rows[245]["split"]) == (None, "test")
    assert summary.counts["5"]["no split"] == 1


def test_the_same_fetch_twice_is_the_same_manifest_and_another_seed_another(digits, tmp_path):
    first = _fetch(digits, tmp_path / "out")
    rows, files = _rows(first), _bytes_of(first.archive)
    second = _fetch(digits, tmp_path / "out", overwrite=True)
    assert (_rows(second), _bytes_of(second.archive)) == (rows, files)
    assert second.fingerprint == first.fingerprint
    other = _fetch(digits, tmp_path / "out", seed=1, overwrite=True)
    assert _bytes_of(other.archive) == files
    assert [row["split"] for row in _rows(other)] != [row["split"] for row in rows]


def test_a_limit_takes_its_share_of_every_class_and_part(digits, tmp_path):
    taken = {}
    for limit in (100, 200, 5000):
        summary = _fetch(digits, tmp_path / str(limit), limit=limit)
        assert summary.num_images == min(limit, 300)
        taken[limit] = {row["path"].partition("/mnist/")[2] for row in _rows(summary)}
    assert Counter(name[:6] for name in taken[100]) == {
        **{f"{label}/trai": 8 for label in range(10)},
        **{f"{label}/test": 2 for label in range(10)},
    }
    assert taken[100] < taken[200] < taken[5000]
    other = _fetch(digits, tmp_path / "other", limit=100, seed=1)
    assert {row["path"].partition("/mnist/")[2] for row in _rows(other)} != taken[100]


def test_an_interrupted_fetch_leaves_nothing_that_looks_whole(digits, tmp_path):
    config = FetchConfig(dataset="mnist", source=str(digits), output=f"{tmp_path}/out")
    seen = []

    def interrupt(step, done, total, note=""):
        seen.extend(path.name for path in (tmp_path / "out").glob(".mnist.*/*/*"))
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(config, interrupt)
    assert len(seen) == 300
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "out/run.json").read_text())["status"] == "stopped"
    assert _refusal(_fetch, digits, tmp_path / "out", kind=RunExistsError) == (
        f"{tmp_path}/out already contains a run; add --overwrite to replace it, "
        "or choose another directory."
    )
    assert _fetch(digits, tmp_path / "out", overwrite=True).num_images == 300


def test_an_output_in_use_is_refused_and_kept(digits, tmp_path):
    first = _fetch(digits, tmp_path / "out")
    before = filesystem.read_bytes(first.manifest)
    for job in (fetch, plan):
        config = FetchConfig(dataset="mnist", source=str(digits), output=first.output, seed=1)
        assert _refusal(job, config, kind=RunExistsError).startswith(
            f"{first.output} already contains a run; "
        )
    # what is given is read before an older set goes
    _refusal(_fetch, tmp_path / "gone", first.output, overwrite=True)
    assert filesystem.read_bytes(first.manifest) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    assert _refusal(_fetch, digits, tmp_path / "mine", overwrite=True, kind=RunExistsError) == (
        f"{tmp_path}/mine is not empty and is not a run; choose another directory."
    )


def test_a_source_within_the_output_is_refused(xrays, tmp_path):
    first = _fetch(xrays, tmp_path / "out", "covid")
    message = _refusal(_fetch, first.archive, first.output, "covid", overwrite=True)
    assert message == (
        f"the output {tmp_path}/out contains the input {tmp_path}/out/covid; choose another output."
    )
    assert Path(first.archive).exists()


def test_a_plan_counts_what_is_given_and_writes_nothing(digits, archive_zip, tmp_path):
    output = f"{tmp_path}/new"
    config = FetchConfig(dataset="mnist", source=str(digits), output=output, limit=100)
    assert plan(config) == {
        "dataset": "mnist",
        "images": {"training": 80, "test": 20},
        "labels": {str(label): 10 for label in range(10)},
        "output": output,
    }
    assert plan(FetchConfig(dataset="covid", source=str(archive_zip), output=output)) == {
        "dataset": "covid",
        "images": 16,
        "labels": {"covid": 8, "normal": 8},
        "output": output,
    }
    assert plan(FetchConfig(dataset="mnist", output=output))["download"] == "Keras"
    assert list(tmp_path.iterdir()) == []


def test_files_are_written_as_a_folder_or_not_at_all(tmp_path):
    def files():
        yield "a/1.png", b"one"
        raise OSError(28, "No space left on device")

    message = _refusal(filesystem.write_folder, f"{tmp_path}/new", files(), kind=StorageError)
    assert message == f"{tmp_path}/new cannot be written: No space left on device."
    assert list(tmp_path.iterdir()) == []
    filesystem.write_folder(f"{tmp_path}/new", [("a/1.png", b"one"), ("b/2.png", b"two")])
    assert _bytes_of(tmp_path / "new") == {"a/1.png": b"one", "b/2.png": b"two"}


def test_a_fetch_from_s3_to_s3(digits, s3):
    for path in digits.iterdir():
        filesystem.write_bytes(f"{s3}/idx/{path.name}", path.read_bytes())
    summary = _fetch(f"{s3}/idx", f"{s3}/out", limit=100)
    rows = _rows(summary)
    assert rows[0]["path"].startswith(f"{s3}/out/mnist/")
    assert len(list(filesystem.list_files(summary.archive))) == len(rows) == 100
    assert filesystem.names(f"{s3}/out") == ["_SUCCESS", "manifest.parquet", "run.json"]


def test_the_kaggle_set_is_found_in_its_folder_and_in_its_zip(xrays, archive_zip, tmp_path):
    known = {
        path.relative_to(xrays / "dataset").as_posix(): path.read_bytes()
        for path in (xrays / "dataset").rglob("*.png")
    }
    for number, source in enumerate((xrays, xrays / "dataset", archive_zip)):
        summary = _fetch(source, tmp_path / str(number), "covid")
        assert _bytes_of(summary.archive) == known
        assert summary.counts == {
            label: {"train": 6, "validation": 1, "test": 1} for label in ("covid", "normal")
        }
        indexed = index_sources(
            [summary.archive], shares={"train": 0.7, "validation": 0.15, "test": 0.15}
        )
        assert manifest.read(summary.manifest).table.equals(indexed.manifest.table)


def test_a_zip_of_windows_and_capitals_is_read(archive_zip, tmp_path):
    path = tmp_path / "windows.zip"
    with zipfile.ZipFile(archive_zip) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            renamed = name.replace("covid/", "COVID/").replace("/", "\\")
            new.writestr(renamed, old.read(name))
    assert list(covid.list_images(str(path))) == list(covid.list_images(str(archive_zip)))
    summary = _fetch(path, tmp_path / "out", "covid")
    assert sum(sum(its.values()) for its in summary.counts.values()) == 16


@pytest.mark.parametrize(
    "entry", ["../dataset/covid/a.png", "dataset/covid/../../../a.png", "dataset\\covid\\..\\a.png"]
)
def test_an_entry_outside_the_zip_is_refused_before_anything_is_written(tmp_path, entry):
    path = tmp_path / "slip.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("dataset/covid/b.png", b"x")
        file.writestr("dataset/normal/b.png", b"x")
        file.writestr(entry, b"x")
    assert _refusal(_fetch, path, tmp_path / "out", "covid") == (
        f"{path} has an entry {entry} that lies outside it; nothing was unpacked."
    )
    assert [left.name for left in tmp_path.iterdir()] == ["slip.zip"]


def test_an_absolute_entry_lands_in_the_output(xrays, archive_zip, tmp_path):
    path = tmp_path / "absolute.zip"
    with zipfile.ZipFile(archive_zip) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            entry = zipfile.ZipInfo()
            entry.filename = f"/{name}"
            new.writestr(entry, old.read(name))
    summary = _fetch(path, tmp_path / "out", "covid")
    assert len(_bytes_of(summary.archive)) == summary.num_images == 16


def test_a_damaged_zip_is_reported(archive_zip, tmp_path):
    path = tmp_path / "cut.zip"
    path.write_bytes(archive_zip.read_bytes()[:-100])
    assert _refusal(_fetch, path, tmp_path / "out", "covid") == (
        f"{path} is not a complete zip file; give the zip, or the folder it was unpacked to."
    )
    data = bytearray(archive_zip.read_bytes())
    place = data.index(b"dataset/covid/p00.png") + 200
    data[place] ^= 0xFF
    path.write_bytes(data)
    assert _refusal(_fetch, path, tmp_path / "out", "covid") == (
        f"{path} is damaged or encrypted at dataset/covid/p00.png; download it again."
    )
    assert [left.name for left in (tmp_path / "out").iterdir()] == ["run.json"]


def test_a_folder_without_both_classes_or_with_them_twice_is_reported(xrays, tmp_path):
    message = (
        "{} must contain one folder with covid and normal and images in both, found {}; or index "
        "its folders directly: cnnjobs index FOLDER."
    )
    source = xrays / "dataset/covid"
    assert _refusal(covid.list_images, str(source)) == message.format(source, "none")
    for copy in ("one", "two"):
        for label in ("covid", "normal"):
            (tmp_path / copy / label).mkdir(parents=True)
            (tmp_path / copy / label / "a.png").write_bytes(b"x")
    assert _refusal(covid.list_images, str(tmp_path)) == message.format(
        tmp_path, "2 such folders: one, two"
    )
    assert _refusal(covid.list_images, f"{tmp_path}/gone") == (
        f"{tmp_path}/gone does not exist; {BY_HAND}"
    )


def _kagglehub(monkeypatch, outcome):
    """A kagglehub in the place of the real one, which would need a network and an account."""
    package, exceptions = types.ModuleType("kagglehub"), types.ModuleType("kagglehub.exceptions")
    names = ("CredentialError", "UnauthenticatedError", "DataCorruptionError", "NotFoundError")
    for name in names:
        setattr(exceptions, name, type(name, (Exception,), {}))

    def dataset_download(name):
        assert name == "alifrahman/covid19-chest-xray-image-dataset"
        sys.stdout.write("Downloading ...\n")
        if isinstance(outcome, str) and hasattr(exceptions, outcome):
            raise getattr(exceptions, outcome)("no\nlines")
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    package.dataset_download, package.exceptions = dataset_download, exceptions
    monkeypatch.setitem(sys.modules, "kagglehub", package)
    monkeypatch.setitem(sys.modules, "kagglehub.exceptions", exceptions)


def _forbidden():
    error = OSError("403 Client Error.")
    error.response = types.SimpleNamespace(status_code=403)
    return error


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (ConnectionError("x\ny"), "covid cannot be downloaded from Kaggle (ConnectionError); "),
        ("NotFoundError", "covid cannot be downloaded from Kaggle (NotFoundError); "),
        *(
            (
                outcome,
                "Kaggle refuses covid without credentials; "
                "put an API token in ~/.kaggle/kaggle.json, or ",
            )
            for outcome in (_forbidden(), "CredentialError", "UnauthenticatedError")
        ),
    ],
)
def test_what_kaggle_refuses_is_one_line_with_the_way_by_hand(
    monkeypatch, tmp_path, outcome, message
):
    _kagglehub(monkeypatch, outcome)
    config = FetchConfig(dataset="covid", output=f"{tmp_path}/out")
    assert _refusal(fetch, config) == message + BY_HAND
    assert list(tmp_path.iterdir()) == []


def test_without_kagglehub_the_extra_and_the_way_by_hand_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    config = FetchConfig(dataset="covid", output=f"{tmp_path}/out")
    assert _refusal(fetch, config) == (
        "covid is downloaded with kagglehub, which is not installed; "
        f"pip install 'cnnjobs[kaggle]', or {BY_HAND}"
    )


def test_what_kagglehub_downloads_is_indexed_and_its_words_are_not_the_result(
    monkeypatch, xrays, tmp_path, capsys
):
    _kagglehub(monkeypatch, xrays)
    summary = fetch(FetchConfig(dataset="covid", output=f"{tmp_path}/out", validation=0.3))
    assert summary.counts["normal"] == {"train": 4, "validation": 3, "test": 1}
    assert capsys.readouterr() == ("", "Downloading ...\n")


def test_without_a_network_mnist_says_which_files_to_put_where(tmp_path):
    # a proxy that is not there: the network fails, on any machine, at once
    blocked = {"https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path / "keras")}
    program = "from cnnjobs.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "fetch", "mnist", "-o", f"{tmp_path}/out", "--json"],
        cwd=ROOT,
        env={**os.environ, **blocked, "no_proxy": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert done.stderr.splitlines()[-1] == f"error: {error}"
    assert error.startswith("mnist cannot be downloaded (URL fetch failure on https://")
    assert error.endswith(
        "); put mnist.npz, or train-images-idx3-ubyte.gz and the other three idx files, in a "
        "folder and run: cnnjobs fetch mnist --from FOLDER -o DIR"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "cifar"}, "dataset must be one of mnist, covid, got cifar."),
        ({"limit": 99}, "limit must be at least 100, got 99."),
        ({"dataset": "covid", "limit": 100}, "limit is only for mnist, got 100 for covid."),
        ({"validation": 1.0}, "validation must be at least 0 and below 1, got 1.0."),
        (
            {"dataset": "covid", "validation": 0.9},
            "validation of covid must be below 0.85, got 0.9.",
        ),
        ({"seed": -1}, "seed must be at least 0, got -1."),
    ],
)
def test_settings_out_of_range_are_reported(settings, message):
    assert _refusal(FetchConfig, **{"dataset": "mnist", "output": "o"} | settings) == message


def test_the_command_prints_counts_or_json(digits, tmp_path, capsys):
    cli = importlib.import_module("cnnjobs.cli")

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            cli.main(["fetch", "mnist", "--from", str(digits), *words])
        assert ended.value.code == 0
        return capsys.readouterr().out

    text = run("-o", f"{tmp_path}/a").splitlines()
    assert text[0].startswith("300 images of mnist in ")
    assert text[1:3] == [
        "class  train  validation  test  all",
        "0         22           2     6   30",
    ]
    assert text[12:] == [
        "copies: 0 exact",
        f"images: {tmp_path}/a/mnist",
        f"manifest: {tmp_path}/a/manifest.parquet",
    ]
    summary = json.loads(run("-o", f"{tmp_path}/b", "--json"))
    assert summary["counts"]["9"] == {"train": 22, "validation": 2, "test": 6}
    assert run("-o", f"{tmp_path}/c", "--dry-run").endswith("dry run: nothing was written.\n")
    assert not (tmp_path / "c").exists()


@pytest.mark.skipif(not REAL, reason="CNNJOBS_REAL_DATA names no folder with mnist/*.gz")
def test_the_real_files_have_their_known_numbers_and_no_copies(tmp_path):
    summary = _fetch(Path(REAL) / "mnist", tmp_path / "out")
    splits = Counter()
    for counts in summary.counts.values():
        splits.update(counts)
    assert splits == {"train": 55_001, "validation": 4_999, "test": 10_000}
    assert summary.num_exact_copies == 0
    assert summary.counts["1"]["test"] == 1135
    rows = manifest.read(summary.manifest).table.slice(0, 5)
    assert rows["label"].to_pylist() == ["5", "0", "4", "1", "9"]
    decoded = decoded_images.decode_rows(rows, Preprocessing(height=28, width=28))
    data = gzip.decompress((Path(REAL) / "mnist" / f"{TRAIN_IMAGES}.gz").read_bytes())
    known = np.frombuffer(data, np.uint8, offset=16)[: 5 * 784].reshape(5, 28, 28)
    np.testing.assert_array_equal(decoded_images.pixels_of(decoded)[..., 0], known)


def _bytes_of(folder):
    root = Path(folder)
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }
