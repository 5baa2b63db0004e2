"""What each occlusion hides, and what it leaves visible."""

import numpy as np

from cnnjobs.evaluation import occlusion

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 80, 1), np.uint8)
OCCLUSIONS = occlusion.occlusions(40, 80, border=0.125)


def test_the_border_is_visible_and_nothing_of_the_center() -> None:
    other = IMAGES.copy()
    other[:, 5:35, 10:70] = 255 - other[:, 5:35, 10:70]

    changed = OCCLUSIONS["border only"](IMAGES)

    assert (changed == OCCLUSIONS["border only"](other)).all()
    assert (changed[:, :5] == IMAGES[:, :5]).all()
    assert (changed[:, :, 70:] == IMAGES[:, :, 70:]).all()


def test_hidden_pixels_get_the_mean_gray_of_visible_ones() -> None:
    changed = OCCLUSIONS["borders masked"](IMAGES)

    for image, original in zip(changed, IMAGES, strict=True):
        assert (image[:5] == round(original[5:35, 10:70].mean())).all()


def test_four_corners_are_masked() -> None:
    same = (OCCLUSIONS["corners masked"](IMAGES) == IMAGES)[0, :, :, 0]

    assert same[8:32].all()
    assert same[:, 16:64].all()
    assert same[:8, :16].mean() < 0.1


def test_16_pixels_keep_local_means() -> None:
    changed = OCCLUSIONS["16x16 pixels"](np.full((1, 40, 80, 1), 77, np.uint8))

    assert (changed == 77).all()
    assert OCCLUSIONS["16x16 pixels"](IMAGES).std() < IMAGES.std() / 2


def test_shuffled_pixels_have_the_same_gray_levels_and_a_seed() -> None:
    one, again = (
        occlusion.occlusions(40, 80, seed=seed)["gray levels only"](IMAGES) for seed in (3, 3)
    )

    assert (np.sort(one.ravel()) == np.sort(IMAGES.ravel())).all()
    assert (np.sort(one[1], axis=None) == np.sort(IMAGES[1], axis=None)).all()
    assert (one == again).all()
    assert (one != IMAGES).any()
