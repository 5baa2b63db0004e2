"""The scoring benchmark measures every way; speeds are not asserted."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import archive, predict, text, ways
from benchmarks.config import SCORING_WAYS, PredictBenchmark
from benchmarks.predict import bench_predict, check_same
from benchmarks.processes import Part, run
from cnnjobs.errors import CnnjobsError, ConfigError, InputError
from tests.support.bundles import write_bundle
from tests.support.paths import ROOT

SMALL = PredictBenchmark(model="digits", rows=40, side=64, batch_size=16, repeats=1)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "ways",
    [
        ("ceiling", "cnnjobs predict"),
        # six processes, four with TensorFlow and two with Ray
        pytest.param(SCORING_WAYS, marks=pytest.mark.slow),
    ],
    ids=len,
)
def test_every_way_to_score_is_compared_with_the_first(ways: tuple[str, ...]) -> None:
    summary = bench_predict(dataclasses.replace(SMALL, ways=ways))
    first, *_ = summary.measured

    assert tuple(way.name for way in summary.measured) == ways
    assert (first.steady_ratio, first.whole_ratio) == (1, 1)
    for way in summary.measured:
        assert way.steady_images_per_second > 0
        assert 0 < way.seconds_to_first < way.whole_seconds
        assert way.whole_images_per_second == pytest.approx(40 / way.whole_seconds, rel=0.01)
        # sampled: the peak of a process of under a second may be missed, Python itself never
        assert (way.peak_memory_bytes or 0) > 10e6

    lines = text.predict_text(summary).splitlines()
    assert "model digits, rows 40, side 64" in lines[0]
    assert summary.machine in lines[1]
    for line, name in zip(lines[3:], ways, strict=True):
        assert line.startswith(name)


@pytest.mark.parametrize("way", [ways.notebook, ways.tf_data, ways.ceiling])
def test_ways_without_ray_score_every_image(way: Part, tmp_path: Path) -> None:
    archive.write_archive(dataclasses.replace(SMALL, rows=5), tmp_path / "archive")
    bundle = write_bundle(tmp_path / "bundle", "digits")
    settings = {"folder": str(tmp_path / "archive"), "bundle": bundle.uri, "batch_size": 4}

    rates = way({**settings, "output": str(tmp_path / "scores"), "began": time.time()})

    assert rates["steady_images_per_second"] > 0
    rows = pq.read_table(tmp_path / "scores")
    assert rows["path"].to_pylist() == archive.files(settings["folder"])
    assert {len(scores) for scores in rows["score"].to_pylist()} == {10}


def test_scores_that_differ_from_the_ceiling_are_an_error(tmp_path: Path) -> None:
    for folder, column, score in (
        ("cnnjobs-predict/predictions", "probability", 0.5),
        ("ceiling", "score", [0.5000001]),
    ):
        (tmp_path / folder).mkdir(parents=True)
        pq.write_table(
            pa.table({"path": ["one.png"], column: [score]}), tmp_path / folder / "part.parquet"
        )

    with pytest.raises(CnnjobsError, match="gave different scores"):
        check_same(tmp_path)


def test_a_drawn_archive_is_half_png_and_half_jpeg_and_the_same_each_time(tmp_path: Path) -> None:
    config = PredictBenchmark(rows=40, side=64)
    total = archive.write_archive(config, tmp_path / "one")
    archive.write_archive(config, tmp_path / "two")

    one, two = (
        [Path(file) for file in archive.files(str(tmp_path / name))] for name in ("one", "two")
    )

    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]
    assert sum(file.stat().st_size for file in one) == total
    assert [file.suffix for file in one].count(".png") == 20


def test_a_given_folder_is_linked_without_its_other_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    archive.write_archive(PredictBenchmark(rows=4, side=64), source)
    (source / "notes.txt").write_text("no image")

    archive.write_archive(PredictBenchmark(data=str(source), rows=3), tmp_path / "links")

    links = [Path(file) for file in archive.files(str(tmp_path / "links"))]
    assert [link.resolve().parent for link in links] == [source] * 3


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    config = PredictBenchmark(data=str(tmp_path))

    with pytest.raises(InputError, match=r"holds no \.png, \.jpg, \.jpeg files\.$"):
        archive.write_archive(config, tmp_path / "links")


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^ways must be one of notebook, .*, got pandas\.$"):
        PredictBenchmark(ways=("pandas",))


def test_an_unknown_model_is_one_line() -> None:
    command = [sys.executable, "-m", "benchmarks", "predict", "--model", "resnet"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no model 'resnet'")
    assert len(done.stderr.splitlines()) == 1


def test_daft_is_looked_for_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^daft is not installed; .*give --way 'notebook'\.$"):
        bench_predict(PredictBenchmark(ways=("notebook", "daft")))


def test_the_memory_of_a_command_is_that_of_all_it_starts() -> None:
    child = "import time; held = bytearray(150_000_000); held[::4096] = held[::4096]; time.sleep(2)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    ended = run([sys.executable, "-c", parent], name="parent", memory=True)

    assert ended.peak_memory_bytes is not None
    assert 150e6 < ended.peak_memory_bytes < 250e6


def test_the_command_line_does_not_import_tensorflow_to_measure_it() -> None:
    code = (
        "import sys, benchmarks.predict; "
        "assert not {'tensorflow', 'keras', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
