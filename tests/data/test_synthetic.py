import pathlib

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cnnjobs.data import synthetic
from cnnjobs.data.phantoms import phantom
from cnnjobs.errors import InputError

NUM_IMAGES = 100
END_OF_PNG = b"IEND\xaeB`\x82"
END_OF_JPEG = b"\xff\xd9"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return synthetic.write_archive(
        tmp_path_factory.mktemp("archive"), num_images=NUM_IMAGES, num_broken=6, seed=3
    )


def _image_paths(archive):
    every = sorted(archive.directory.glob("*/*"))
    return [p for p in every if str(p.relative_to(archive.directory)) not in archive.broken]


def _contents(directory):
    return {p.relative_to(directory): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def _pair(seed):
    """Return one chest twice, without and with patches: (300, 280) uint8 each."""
    return [
        phantom(np.random.default_rng(seed), height=300, width=280, opacity=opacity)
        for opacity in (False, True)
    ]


def _perceptual_hash(image):
    small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    coefficients = cv2.dct(small)[:16, :16].ravel()
    return coefficients > np.median(coefficients[1:])


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name in ("once", "twice"):
        synthetic.write_archive(tmp_path / name, num_images=6, num_broken=5, seed=1)
    assert _contents(tmp_path / "once") == _contents(tmp_path / "twice")


def test_another_seed_draws_other_images(tmp_path):
    for seed in (1, 2):
        synthetic.write_archive(tmp_path / str(seed), num_images=4, num_broken=0, seed=seed)
    first, second = (set(_contents(tmp_path / str(seed)).values()) for seed in (1, 2))
    assert not first & second


def test_the_classes_are_balanced_to_within_one(tmp_path):
    summary = synthetic.write_archive(tmp_path, num_images=7, num_broken=0)
    assert (summary.num_images, summary.num_normal, summary.num_opacity) == (7, 4, 3)
    assert len(list((tmp_path / "normal").iterdir())) == 4
    assert len(list((tmp_path / "opacity").iterdir())) == 3


def test_every_image_decodes_to_gray_of_the_promised_size(archive):
    sides = []
    for path in _image_paths(archive):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image.ndim == 2
        assert image.dtype == np.uint8
        sides.append(image.shape)
    assert len(sides) == NUM_IMAGES
    assert np.min(sides) >= 240
    assert np.quantile(sides, 0.9) <= 520
    assert len(set(sides)) > 0.9 * NUM_IMAGES


def test_every_class_has_both_formats_and_suffixes_are_true(archive):
    starts = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff"}
    for path in _image_paths(archive):
        assert path.read_bytes().startswith(starts[path.suffix])
    for name in synthetic.CLASSES:
        suffixes = {p.suffix for p in _image_paths(archive) if p.parent.name == name}
        assert suffixes == set(starts)


def test_names_are_numbers_that_carry_no_class(archive):
    numbers = {}
    for path in archive.directory.glob("*/*"):
        assert path.stem.startswith("phantom-")
        numbers[int(path.stem.removeprefix("phantom-"))] = path.parent.name == "opacity"
    assert sorted(numbers) == list(range(NUM_IMAGES + 6))
    labels = np.array([numbers[number] for number in sorted(numbers)], float)
    assert abs(np.corrcoef(labels, np.arange(len(labels)))[0, 1]) < 0.3
    assert abs(np.corrcoef(labels, np.arange(len(labels)) % 2)[0, 1]) < 0.3


def test_broken_files_cycle_through_every_damage_in_both_classes(archive):
    assert list(archive.broken.values()) == [
        "zero bytes",
        "text named .png",
        "PNG cut in half",
        "JPEG cut in half",
        "random bytes named .jpg",
        "zero bytes",
    ]
    assert {pathlib.Path(path).parent.name for path in archive.broken} == {"normal", "opacity"}


def test_broken_files_are_what_the_summary_says(archive):
    for path, damage in archive.broken.items():
        content = (archive.directory / path).read_bytes()
        if damage == "zero bytes":
            assert content == b""
        elif damage == "PNG cut in half":
            assert content.startswith(b"\x89PNG")
            assert END_OF_PNG not in content
        elif damage == "JPEG cut in half":
            assert content.startswith(b"\xff\xd8\xff")
            assert END_OF_JPEG not in content
        else:
            assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE) is None


def test_whole_files_have_the_end_that_cut_ones_lack(archive):
    for path in _image_paths(archive):
        assert path.read_bytes().endswith(END_OF_PNG if path.suffix == ".png" else END_OF_JPEG)


def test_the_readme_says_synthetic_and_names_the_seed(archive):
    text = (archive.directory / "README.txt").read_text()
    assert text.startswith("These are synthetic drawings, not patients.\n")
    assert f"drawing version: {synthetic.DRAWING_VERSION}\nseed: 3\n" in text


def test_trivial_features_do_not_reveal_the_class(archive):
    features, labels = [], []
    for path in _image_paths(archive):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        height, width = image.shape
        is_png = float(path.suffix == ".png")
        size = path.stat().st_size
        features.append([width, height, width / height, image.mean(), image.std(), is_png, size])
        labels.append(path.parent.name == "opacity")
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_predict(model, features, labels, cv=5, method="predict_proba")[:, 1]
    # Chance is 0.5 with a standard error of 0.06 at 100 images.
    assert _auroc(scores, np.array(labels)) < 0.65


def test_patches_brighten_the_lungs_and_leave_spine_and_belly_alone():
    """Exposure is matched by a straight line through what lies outside the lungs."""
    for seed in range(6):
        normal, opacity = (cv2.GaussianBlur(i.astype(np.float32), (0, 0), 3) for i in _pair(seed))
        outside = np.zeros(normal.shape, bool)
        outside[40:260, 136:144] = True  # the spine
        outside[262:275, 30:250] = True  # the belly
        slope, offset = np.polyfit(normal[outside], opacity[outside], 1)
        excess = opacity - (slope * normal + offset)
        assert np.abs(excess[outside]).mean() < 4
        assert excess.max() > 50
        assert 0.005 < np.mean(excess > 25) < 0.35


def test_exposure_does_not_follow_the_patches():
    for seed in range(6):
        normal, opacity = _pair(seed)
        assert opacity.mean() == pytest.approx(normal.mean(), abs=1.5)
        assert opacity.std() == pytest.approx(normal.std(), abs=1.5)


def test_no_two_phantoms_are_near_duplicates(archive):
    images = [cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for p in _image_paths(archive)]
    hashes = np.array([_perceptual_hash(image) for image in images])
    distances = (hashes[:, None] != hashes[None]).sum(axis=2)
    assert distances[np.triu_indices(len(hashes), 1)].min() > 36


def test_a_phantom_has_the_shape_asked_for():
    rng = np.random.default_rng(0)
    image = phantom(rng, height=32, width=50, opacity=True)
    assert image.shape == (32, 50)
    assert image.dtype == np.uint8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 1}, "num_images must be at least 2, got 1."),
        ({"num_broken": -1}, "num_broken must be at least 0, got -1."),
        ({"seed": -1}, "seed must be at least 0, got -1."),
    ],
)
def test_a_bad_count_is_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(InputError) as caught:
        synthetic.write_archive(tmp_path / "new", **arguments)
    assert str(caught.value) == message
    assert not (tmp_path / "new").exists()


def test_a_directory_with_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(InputError) as caught:
        synthetic.write_archive(tmp_path)
    assert str(caught.value) == f"{tmp_path} must be absent or an empty directory."
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_phantom_too_small_to_draw_is_refused():
    with pytest.raises(InputError) as caught:
        phantom(np.random.default_rng(0), height=31, width=300, opacity=False)
    assert str(caught.value) == "height must be at least 32, got 31."


def _auroc(scores, labels):
    """Return the share of (opacity, normal) pairs in the right order."""
    return np.mean(scores[labels][:, None] > scores[~labels][None])
