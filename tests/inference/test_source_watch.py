"""When errors are the source's: many in a row, or a large share, or all."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from cnnjobs.errors import SourceError
from cnnjobs.inference.source_watch import SourceWatch, check_process, readable_samples

GONE = "missing: the file is gone"
REVOKED = "unreadable: S3 does not know this access key"


def table(errors: Sequence[str | None], start: int = 0) -> pa.Table:
    return pa.table(
        {
            "path": [f"/archive/{start + number}.png" for number in range(len(errors))],
            "error": pa.array(errors, pa.string()),
            "is_outage": [error == REVOKED for error in errors],
        }
    )


def passed(watch: SourceWatch, errors: Sequence[str | None], size: int = 16) -> list[str]:
    """The paths that a watch passes on, from tables of this many rows."""
    paths: list[str] = []
    for start in range(0, len(errors), size):
        paths += watch.pass_on(table(errors[start : start + size], start))["path"].to_pylist()
        watch.check()
    return paths


def test_a_handful_of_missing_images_are_rows_also_in_a_small_job() -> None:
    for errors in ([None, GONE, None, GONE, GONE], [*[None] * 9_960, *[GONE] * 40]):
        watch = SourceWatch(len(errors))
        assert len(passed(watch, errors)) == len(errors)
        watch.end_pass([], len(errors))


@pytest.mark.parametrize("error", [GONE, "permission: reading the file is not permitted"])
def test_many_failures_in_a_row_stop_the_job_at_the_fiftieth(error: str) -> None:
    errors = [*[None] * 1000, *[error] * 9000]
    watch = SourceWatch(len(errors))

    with pytest.raises(SourceError) as stopped:
        passed(watch, errors, size=25)

    last = f"/archive/1049.png ({error})"
    assert str(stopped.value) == f"50 images in a row failed, the last: {last}"
    # those let through before are known, so that the job can take them back
    assert set(watch.suspects) == {f"/archive/{number}.png" for number in range(1000, 1050)}


def test_failures_between_good_rows_stop_the_job_once_they_are_a_quarter() -> None:
    # as when one of three processes cannot read
    errors = ([None] * 32 + [GONE] * 16) * 100
    watch = SourceWatch(len(errors))

    with pytest.raises(SourceError, match=r"^250 of the last \d+ images failed, the last: "):
        passed(watch, errors)


def test_a_tenth_of_the_images_missing_here_and_there_is_no_reason_to_stop() -> None:
    errors = ([None] * 18 + [GONE] * 2) * 200
    assert len(passed(SourceWatch(len(errors)), errors)) == len(errors)


def test_errors_of_the_content_never_stop_a_job() -> None:
    errors = ["not an image: no decoder recognizes these bytes"] * 500
    watch = SourceWatch(len(errors))
    assert len(passed(watch, errors)) == 500
    watch.end_pass([], 500)


def test_rows_that_failed_by_the_place_are_held_back_and_those_of_images_passed_on() -> None:
    watch = SourceWatch(100)
    kept = passed(watch, [None, REVOKED, GONE, REVOKED, *[None] * 96])

    assert watch.held_back == ["/archive/1.png", "/archive/3.png"]
    assert len(kept) == 98
    watch.end_pass([], 100)


def test_a_place_that_fails_again_in_the_second_pass_ends_the_job() -> None:
    watch = SourceWatch(100)
    passed(watch, [REVOKED, *[None] * 99])
    watch.end_pass([], 100)
    watch.held_back = []
    passed(watch, [REVOKED])

    with pytest.raises(SourceError) as ended:
        watch.end_pass([], 1)

    assert str(ended.value) == (
        f"none of 1 images could be read; the last: /archive/0.png ({REVOKED})"
    )


def test_max_errors_lifts_the_limits_for_images_but_not_for_their_place() -> None:
    watch = SourceWatch(200, lenient=True)
    assert len(passed(watch, [GONE] * 200)) == 200
    watch.end_pass([], 200)

    with pytest.raises(SourceError, match=r"^50 images in a row failed"):
        passed(SourceWatch(200, lenient=True), [REVOKED] * 200)


def test_images_that_failed_in_an_earlier_night_say_nothing_new() -> None:
    known = [f"/archive/{number}.png" for number in range(200)]
    watch = SourceWatch(10_000, done=9_800, known=known)
    assert len(passed(watch, [GONE] * 200)) == 200
    watch.end_pass([], 200)


def test_a_few_images_missing_at_the_end_are_the_sources_if_those_of_the_start_are_gone_too(
    tmp_path: Path,
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    rows = pa.table({"path": [str(tmp_path / f"{number}.png") for number in range(3)]})
    samples = readable_samples(rows)
    assert samples == rows["path"].to_pylist()
    watch = SourceWatch(30)
    passed(watch, [*[None] * 27, GONE, GONE, GONE])
    watch.end_pass(samples, 30)

    for sample in samples:
        Path(sample).unlink()

    with pytest.raises(SourceError) as ended:
        watch.end_pass(samples, 30)
    assert str(ended.value) == (
        "images that could be read at the start cannot be read now: "
        f"{samples[0]} (No such file or directory)"
    )
    with pytest.raises(SourceError, match=r"^the scoring process on \S+ cannot read the images, "):
        check_process(samples)
