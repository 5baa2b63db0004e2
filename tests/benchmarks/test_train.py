"""The training benchmark measures every way; speeds are not asserted."""

import dataclasses
import subprocess
import sys
import time

import pytest

from benchmarks import text
from benchmarks.config import TrainBenchmark
from benchmarks.train import bench_train, first_step, loops
from tests.support.paths import ROOT

WAYS = ["model.fit", "loop", "train", "train on Ray", "train --workers 2"]
SMALL = TrainBenchmark(model="digits", rows=40, epochs=1, repeats=1)


# five processes with TensorFlow, two of them with Ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_way_to_train_is_compared_with_another() -> None:
    summary = bench_train(SMALL)
    fit, loop, alone, one, two = summary.measured

    assert [way.name for way in summary.measured] == WAYS
    assert [way.compared_with for way in summary.measured] == [*WAYS[:1] * 4, WAYS[3]]
    assert fit.ratio == 1
    assert two.ratio == pytest.approx(two.epoch_seconds / one.epoch_seconds, rel=0.05)
    assert fit.wait_share is None
    assert all(0 <= (way.wait_share or 0) <= 1 for way in (loop, alone, one, two))
    assert [way.startup_seconds is None for way in summary.measured] == [
        False, True, False, False, False
    ]  # fmt: skip
    # of both epochs, including the first
    assert all(len(way.peak_memory_bytes) == 2 for way in summary.measured)

    lines = text.train_text(summary).splitlines()
    assert lines[0].startswith("model digits, rows 40, epochs 1, batch_size 32, repeats 1, seed 0;")
    assert summary.machine in lines[1]
    for line, way in zip(lines[3:], WAYS, strict=True):
        assert line.startswith(way)


def test_keras_fit_and_the_loop_alternate_in_one_process() -> None:
    settings = {"config": dataclasses.asdict(SMALL), "began": time.time()}
    measured = loops(settings)

    assert [*measured] == WAYS[:2]
    for way in measured.values():
        assert [seconds > 0 for seconds in way["epoch_seconds"]] == [True]
        assert len(way["peak_memory_bytes"]) == 2
    assert 0 <= measured["loop"]["wait_share"] <= 1
    assert first_step(settings)["startup_seconds"] > 0


@pytest.mark.parametrize(
    "name", ["predict", "train", "index", "decode", "scale", "intervals", "coverage", "recipes"]
)
def test_every_benchmark_explains_itself(name: str) -> None:
    command = [sys.executable, "-m", "benchmarks", name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)

    assert f"python -m benchmarks {name}" in done.stdout


def test_the_command_line_does_not_import_tensorflow_to_measure_it() -> None:
    code = (
        "import sys, benchmarks.train; assert not {'tensorflow', 'keras', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
