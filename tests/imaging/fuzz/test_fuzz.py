"""A minute of fuzzing, always of the same images; `python -m tests.imaging.fuzz` does more."""

import pytest

from tests.imaging.fuzz import campaign, mutations

#: For each format; decoded twice.
IMAGES = 1500


@pytest.mark.parametrize("format_", mutations.FORMATS)
def test_changed_images_give_pixels_or_an_error_within_bounds(format_, tmp_path):
    report = campaign.run(format_, 0, images=IMAGES, folder=tmp_path)
    assert report.faults == []
    assert report.printed == set()
    assert report.runs == IMAGES
    # they are neither all broken nor all whole
    assert report.outcomes["sound"] + report.outcomes["warning"] > IMAGES / 20
    assert report.outcomes["damaged"] + report.outcomes["truncated"] > IMAGES / 20
