"""`python -m benchmarks start` prints where the time of a small job goes."""

import re

import pytest

from benchmarks import start


@pytest.mark.slow
def test_the_steps_add_up_to_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    start.print_waterfalls(40, 1)
    printed = capsys.readouterr().out
    blocks = [each for each in re.split(r"^(?! )", printed, flags=re.MULTILINE) if each]
    titles = [block.splitlines()[0] for block in blocks]
    assert titles == [
        "predict, 40 images",
        "the same on Ray, 40 images",
        "the child process alone",
    ]
    for block in blocks:
        *steps, whole = (float(value) for value in re.findall(r"([\d.]+) s\b", block))
        assert all(seconds >= 0 for seconds in steps)
        assert sum(steps) == pytest.approx(whole, abs=0.05)
