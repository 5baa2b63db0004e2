"""A bundle opened in Python: the same probabilities as the jobs, from paths, arrays and PIL."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import cnnjobs
from cnnjobs.data import synthetic
from tests.support.bundles import write_bundle


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Drawings as PNG and JPEG, nine of them."""
    folder = tmp_path_factory.mktemp("images") / "archive"
    synthetic.write_archive(folder, num_images=9, num_broken=0, seed=5)
    return sorted(str(file) for file in folder.glob("*/*"))


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> cnnjobs.Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "gap"
    write_bundle(folder, "covid-gap", crop=0.1, equalize=True)
    return cnnjobs.Bundle.open(folder)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> cnnjobs.Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "digits"
    return cnnjobs.Bundle.open(write_bundle(folder, "digits").uri)


@pytest.fixture(scope="module")
def gray16(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, NDArray[np.uint16]]:
    """12 significant bits in a 16-bit PNG."""
    pixels = np.random.default_rng(0).integers(0, 4096, (300, 200)).astype(np.uint16)
    file = tmp_path_factory.mktemp("deep") / "deep.png"
    cv2.imwrite(str(file), pixels)
    return str(file), pixels


@pytest.fixture(scope="module")
def color(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, NDArray[np.uint8]]:
    pixels = np.random.default_rng(1).integers(0, 256, (300, 200, 3)).astype(np.uint8)
    file = tmp_path_factory.mktemp("color") / "color.png"
    PIL.Image.fromarray(pixels).save(file)
    return str(file), pixels


def by_job(bundle: cnnjobs.Bundle, *paths: str) -> list[Any]:
    summary = cnnjobs.predict_one(bundle=bundle.uri, images=paths)
    return [
        each.probability if isinstance(each, cnnjobs.BinaryPrediction) else each.probabilities
        for each in summary.images
    ]


def test_a_bundle_says_what_it_knows(binary: cnnjobs.Bundle, digits: cnnjobs.Bundle) -> None:
    assert (binary.labels, binary.positive) == (["normal", "opacity"], "opacity")
    assert (binary.threshold, binary.preprocessing.crop) == (0.5, 0.1)
    assert (digits.labels, digits.positive) == ([str(digit) for digit in range(10)], None)


def test_files_get_the_probabilities_of_predict_one(
    binary: cnnjobs.Bundle, digits: cnnjobs.Bundle, images: list[str]
) -> None:
    for bundle in (binary, digits):
        assert bundle.predict(images).tolist() == by_job(bundle, *images)
        assert bundle.predict(images[0]).tolist() == by_job(bundle, images[0])[0]
        assert bundle.predict(Path(images[1])).tolist() == by_job(bundle, images[1])[0]


def test_the_shape_says_whether_there_was_one_image_or_several(
    binary: cnnjobs.Bundle, digits: cnnjobs.Bundle, images: list[str]
) -> None:
    for bundle, shape in ((binary, ()), (digits, (10,))):
        found = [bundle.predict(each) for each in (images[0], images[:1], images)]
        assert [each.shape for each in found] == [shape, (1, *shape), (9, *shape)]
        assert {each.dtype for each in found} == {np.dtype(np.float32)}


def test_arrays_and_pil_images_get_the_probability_of_their_file(
    binary: cnnjobs.Bundle,
    images: list[str],
    gray16: tuple[str, NDArray[np.uint16]],
    color: tuple[str, NDArray[np.uint8]],
) -> None:
    png = next(path for path in images if path.endswith(".png"))
    gray8 = cv2.imread(png, cv2.IMREAD_UNCHANGED)
    assert gray8 is not None
    for path, pixels in ((png, gray8), gray16, color):
        (expected,) = by_job(binary, path)
        assert binary.predict(pixels) == expected  # type: ignore[arg-type]
        with PIL.Image.open(path) as image:
            assert binary.predict(image) == expected
    assert binary.predict(gray8[:, :, np.newaxis]) == by_job(binary, png)[0]  # type: ignore[arg-type]


def test_a_mixed_sequence_and_an_array_of_images_are_several(
    binary: cnnjobs.Bundle, images: list[str], color: tuple[str, NDArray[np.uint8]]
) -> None:
    path, pixels = color
    mixed = binary.predict([path, pixels, PIL.Image.open(path), images[0]])
    assert mixed[:3].tolist() == [mixed[0]] * 3
    assert binary.predict(np.stack([pixels, pixels])).tolist() == mixed[:2].tolist()


def test_a_pil_image_of_another_mode_or_orientation_is_taken_as_it_is_seen(
    binary: cnnjobs.Bundle, color: tuple[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    path, pixels = color
    image = PIL.Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.transpose(PIL.Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    with PIL.Image.open(tmp_path / "turned.png") as turned:
        assert binary.predict(turned) == by_job(binary, path)[0]
    by_cmyk = binary.predict(image.convert("CMYK"))
    assert by_cmyk == binary.predict(image.convert("CMYK").convert("RGB"))
    palette = image.convert("P")
    assert binary.predict(palette) == binary.predict(np.asarray(palette.convert("RGB")))


def test_keras_and_openvino_agree(binary: cnnjobs.Bundle, images: list[str]) -> None:
    keras = cnnjobs.Bundle.open(binary.uri, engine="keras").predict(images)
    np.testing.assert_allclose(keras, binary.predict(images), atol=1e-5)
    with pytest.raises(cnnjobs.ConfigError, match=r"^engine must be one of auto, openvino, keras,"):
        cnnjobs.Bundle.open(binary.uri, engine="torch")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((4, 4)),
            "an array must be uint8 or uint16 of shape (height, width) or (height, width, 3), "
            "got float64 of shape (4, 4).",
        ),
        (
            np.zeros((4, 4, 2), np.uint8),
            "an array must be uint8 or uint16 of shape (height, width) or (height, width, 3), "
            "got uint8 of shape (4, 4, 2).",
        ),
        ([3], "an image must be a path, a PIL image or an array, got int."),
        ([], "predict needs at least one image, got none."),
        (
            PIL.Image.new("F", (4, 4)),
            "a PIL image must have 8 or 16 bits, got mode F; convert it to L.",
        ),
        ("/nowhere/gone.png", "/nowhere/gone.png cannot be read: missing: the file is gone."),
    ],
)
def test_what_is_not_an_image_is_refused(binary: cnnjobs.Bundle, image: Any, message: str) -> None:
    with pytest.raises(cnnjobs.InputError) as raised:
        binary.predict(image)
    assert str(raised.value) == message


def test_a_damaged_file_is_refused_by_name(
    binary: cnnjobs.Bundle, images: list[str], tmp_path: Path
) -> None:
    png = next(path for path in images if path.endswith(".png"))
    cut = tmp_path / "cut.png"
    cut.write_bytes(Path(png).read_bytes()[:-100])
    with pytest.raises(cnnjobs.InputError, match=f"^{cut} cannot be read: truncated: "):
        binary.predict(cut)
    with (
        PIL.Image.open(cut) as image,
        pytest.raises(cnnjobs.InputError, match=r"^the image cannot be read: "),
    ):
        binary.predict(image)
