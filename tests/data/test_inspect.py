"""Looking at one image, and at data before training."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from cnnjobs.cli import main
from cnnjobs.config import IndexConfig, InspectConfig
from cnnjobs.data import synthetic
from cnnjobs.data.index import index
from cnnjobs.data.inspect import DataSummary, ImageSummary, inspect, plan
from cnnjobs.errors import InputError
from tests.support.image_files import dicom as dicom_file

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect") / "archive"
    synthetic.write_archive(folder, num_images=12, num_broken=2, seed=4)
    return folder


def test_an_image_is_described_in_the_lab_sheets_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = RNG.integers(0, 256, (362, 439), np.uint8)
    pixels[0, :2] = 0, 255
    file = _write(tmp_path / "image.png", pixels)

    out = _run(capsys, str(file))

    assert out.splitlines() == [
        f"{file}: PNG, 8 bits per sample, gray, {file.stat().st_size:,} bytes",
        "362 pixels height and 439 pixels width",
        f"max 255, min 0, mean {np.mean(pixels):.4f}, standard deviation {np.std(pixels):.4f}",
        "pixels:",
        "  PNG, 8 bits, gray",
    ]


def test_levels_of_16_bits_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = np.array([[0, 1000], [3000, 4095]], np.uint16)
    summary = _image(_write(tmp_path / "deep.png", pixels))
    assert (summary.header.bits, summary.header.color) == (16, "gray")
    assert (summary.levels.min, summary.levels.max) == (0, 4095)
    assert summary.levels.mean == np.mean(pixels)
    assert summary.levels.sd == pytest.approx(np.std(pixels))
    assert summary.warning == "its samples are taken for 12 bits, though they are stored in 16"


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "tiff", "webp"])
def test_formats_of_color_have_their_name_and_depth(tmp_path: Path, suffix: str) -> None:
    file = _write(tmp_path / f"image.{suffix}", RNG.integers(0, 256, (40, 50, 3), np.uint8))
    summary = _image(file)
    assert summary.header.format == {"jpg": "jpeg"}.get(suffix, suffix)
    assert (summary.header.bits, summary.header.color) == (8, "color")
    assert (summary.height, summary.width) == (40, 50)


def test_exif_is_shown_without_anything_that_identifies_a_person(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(RNG.integers(0, 256, (20, 30), np.uint8))
    exif = picture.getexif()
    # maker, orientation; description, artist, date
    exif[0x010F], exif[0x0112] = "Acme", 6
    exif[0x010E], exif[0x013B], exif[0x0132] = "Jane Doe", "Jane Doe", "2020:01:02 03:04:05"
    picture.save(tmp_path / "image.jpg", exif=exif)

    summary = _image(tmp_path / "image.jpg")

    assert summary.header.tags == {"Make": "Acme", "Orientation": "6"}
    # upright
    assert (summary.height, summary.width) == (30, 20)


def test_dicom_is_shown_without_anything_that_identifies_a_person(tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    pixels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    file.write_bytes(
        dicom_file(
            pixels,
            PatientName="Doe^Jane",
            PatientID="12345",
            StudyDate="20200102",
            Modality="DX",
            ViewPosition="PA",
        )
    )
    summary = _image(file)
    assert summary.header.format == "dicom"
    assert summary.header.tags["Modality"] == "DX"
    assert summary.header.tags["ViewPosition"] == "PA"
    told = json.dumps(summary.header.tags)
    assert not any(secret in told for secret in ("Doe", "12345", "2020"))


def test_an_image_is_drawn_with_its_histogram(tmp_path: Path) -> None:
    file = _write(tmp_path / "image.png", RNG.integers(0, 256, (64, 80), np.uint8))
    summary = _image(file, plot=str(tmp_path / "new" / "drawn.png"))
    drawn = cv2.imread(str(summary.plot))
    assert drawn is not None
    # as wide as a page, 7 inches of 300 pixels
    assert drawn.shape == (900, 2100, 3)


def test_an_image_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    whole = _write(tmp_path / "image.png", RNG.integers(0, 256, (64, 80), np.uint8)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:1000])
    with pytest.raises(InputError) as refused:
        inspect(InspectConfig(data=str(tmp_path / "cut.png")))
    assert str(refused.value) == (
        f"{tmp_path}/cut.png cannot be read: truncated: the PNG ends before its last chunk."
    )


def test_data_is_counted_by_class_and_what_is_broken_is_named(archive: Path) -> None:
    summary = _data(archive)
    assert summary.num_images == 14
    assert {label: its.num_images for label, its in summary.classes.items()} == {
        "normal": 6,
        "opacity": 6,
    }
    assert len(summary.unreadable) == 2
    assert summary.sources == {"archive": {"normal": 7, "opacity": 7}}
    assert summary.warnings == []
    opacity = summary.classes["opacity"]
    assert sum(opacity.formats.values()) == 6
    files = [
        cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in (archive / "opacity").iterdir()
    ]
    widths = sorted(image.shape[1] for image in files if image is not None)
    assert (opacity.width.min, opacity.width.max) == (widths[0], widths[-1])
    assert opacity.width.median == np.median(widths)


def test_copies_across_classes_and_splits_are_found(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copied"
    shutil.copytree(archive, folder)
    manifest = tmp_path / "manifest.parquet"
    original = next(file for file in sorted(folder.glob("normal/*")) if _readable(file))
    exact = folder / "opacity" / f"copy{original.suffix}"
    shutil.copy(original, exact)
    pixels = cv2.imread(str(original), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    near = _write(folder / "normal" / "near.png", cv2.resize(pixels, None, fx=0.7, fy=0.7))
    index(IndexConfig(sources=(str(folder),), output=str(manifest), split=False))
    # a split by hand, as other tools make them: copies in two
    table = pq.read_table(manifest)
    splits = ["test" if path == str(near) else "train" for path in table["path"].to_pylist()]
    place = table.schema.get_field_index("split")
    pq.write_table(table.set_column(place, table.schema.field("split"), [splits]), manifest)

    found = {(copy.path, copy.copy_of): copy for copy in _data(manifest).copies}

    assert len(found) == 3
    twins = _pair(found, original, exact)
    assert (twins.exact, twins.across_classes, twins.across_splits) == (True, True, False)
    smaller = _pair(found, original, near)
    assert (smaller.exact, smaller.across_classes, smaller.across_splits) == (False, False, True)


def test_a_source_of_one_class_is_a_warning(tmp_path: Path) -> None:
    for source, label in (("one", "covid"), ("other", "normal"), ("mixed", "covid")):
        _noise(tmp_path / source / label, 2, side=70)
    _noise(tmp_path / "mixed" / "normal", 2, side=70)
    manifest = str(tmp_path / "manifest.parquet")
    sources = tuple(str(tmp_path / name) for name in ("one", "other", "mixed"))
    index(IndexConfig(sources=sources, output=manifest, split=False))

    summary = _data(Path(manifest))

    assert summary.sources == {
        "one": {"covid": 2},
        "other": {"normal": 2},
        "mixed": {"covid": 2, "normal": 2},
    }
    assert [warning.split(":")[0] for warning in summary.warnings] == [
        "source one has only covid",
        "source other has only normal",
    ]
    assert "a model can learn to recognize the source" in summary.warnings[0]


def test_a_size_or_format_that_reveals_the_class_is_a_warning(tmp_path: Path) -> None:
    _noise(tmp_path / "data" / "covid", 2, side=70, suffix="jpg")
    _noise(tmp_path / "data" / "normal", 2, side=90)
    assert _data(tmp_path / "data").warnings == [
        "every image of covid is narrower than every image of normal: how the files were made "
        "reveals the class.",
        "covid is jpeg, normal png: how the files were made reveals the class.",
    ]


def test_four_pictures_are_drawn_the_same_for_the_same_seed(archive: Path, tmp_path: Path) -> None:
    first = _data(archive, plot=str(tmp_path / "first"))
    again = _data(archive, plot=str(tmp_path / "again"))
    other = _data(archive, plot=str(tmp_path / "other"), seed=1)
    names = ["classes.png", "samples.png", "sizes.png", "intensities.png"]
    assert [Path(file).name for file in first.plots] == names
    for file in first.plots:
        assert cv2.imread(file) is not None
    samples = [Path(its.plots[1]).read_bytes() for its in (first, again, other)]
    assert samples[0] == samples[1] != samples[2]


def test_the_text_of_data_names_classes_copies_and_broken_files(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = _run(capsys, str(archive))
    lines = out.splitlines()
    assert lines[0] == f"14 images in {archive}"
    assert lines[1].split() == ["class", "no", "split", "unreadable", "all"]
    assert lines[4].split()[:4] == ["class", "format", "width", "height"]
    assert "pairs of copies: 0 exact, 0 near; 0 across classes, 0 across splits" in lines
    assert "unreadable: 2" in lines


def test_a_dry_run_reports_what_would_be_read(archive: Path, tmp_path: Path) -> None:
    told = plan(InspectConfig(data=str(archive), plot=str(tmp_path / "look")))
    assert (told["images"], told["labels"]) == (14, {"normal": 7, "opacity": 7})
    assert len(told["plots"]) == 4
    file = str(next((archive / "normal").iterdir()))
    assert plan(InspectConfig(data=file)) == {"image": file, "plot": None}
    assert list(tmp_path.iterdir()) == []


def test_data_of_which_nothing_can_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"")
    with pytest.raises(InputError) as refused:
        inspect(InspectConfig(data=str(tmp_path / "data")))
    assert str(refused.value) == (
        f"none of the 1 images can be read; the first is {tmp_path}/data/a.png (empty: the file "
        "has no bytes)."
    )


def _image(file, **settings):
    summary = inspect(InspectConfig(data=str(file), **settings))
    assert isinstance(summary, ImageSummary)
    return summary


def _data(data, **settings):
    summary = inspect(InspectConfig(data=str(data), **settings))
    assert isinstance(summary, DataSummary)
    return summary


def _run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *words])
    assert ended.value.code == 0
    return capsys.readouterr().out


def _write(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), pixels)
    return file


def _noise(folder, number, *, side, suffix="png"):
    for place in range(number):
        _write(folder / f"{place}.{suffix}", RNG.integers(0, 256, (side, side), np.uint8))


def _readable(file):
    return cv2.imread(str(file)) is not None


def _pair(found, one, other):
    return found.get((str(one), str(other))) or found[(str(other), str(one))]
