"""A job that is too large for one window has the rows of one that is not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs.config import PredictConfig, VerifyConfig
from cnnjobs.data import manifest
from cnnjobs.data.manifest_file import ManifestFile
from cnnjobs.data.sources import index_sources
from cnnjobs.errors import CnnjobsError, ManifestError
from cnnjobs.inference import plan, predictions
from cnnjobs.inference.estimate import estimate
from cnnjobs.inference.predict import predict
from cnnjobs.inference.verify import verify
from tests.support.disturbed_runs import ALONE, environment
from tests.support.prediction_tables import without_session

NUM, NUM_BROKEN = 42, 2

#: Scores in three windows, and is killed in the second.
_KILLED = """
import json, os, signal, sys
from cnnjobs.config import PredictConfig
from cnnjobs.inference import plan
from cnnjobs.inference.predict import predict

def die(step, done, *rest):
    if done >= 24:
        os.kill(os.getpid(), signal.SIGKILL)

plan.WINDOW = 16
predict(PredictConfig(**json.loads(sys.argv[1])), die)
"""


@pytest.fixture(scope="module")
def listed(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The manifest of 42 images, and one with its halves exchanged."""
    folder = tmp_path_factory.mktemp("listed")
    found = index_sources([str(drawn)], shares=None, content=False).manifest
    table = found.table
    assert table.num_rows == NUM
    halves = pa.concat_tables([table.slice(NUM // 2), table.slice(0, NUM // 2)])
    files = {"sorted": folder / "sorted.parquet", "halves": folder / "halves.parquet"}
    manifest.write(found, str(files["sorted"]))
    manifest.write(manifest.Manifest(halves, found.settings), str(files["halves"]))
    return files


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three windows, whose images are looked up in the parts a few at a time."""
    monkeypatch.setattr(plan, "WINDOW", 16)
    monkeypatch.setattr("cnnjobs.inference.parts.FEW_IMAGES", 5)
    monkeypatch.setattr("cnnjobs.inference.parts.MANY_IMAGES", 16)


@pytest.fixture
def three_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def config(bundle: Path, data: Path, output: Path, **settings: Any) -> PredictConfig:
    return PredictConfig(
        bundle=str(bundle),
        data=str(data),
        output=str(output),
        **{"batch_size": 4, "rows_per_file": 10, **settings},
    )


def parts(run: Path) -> dict[str, pa.Table]:
    """The parts by name, without what differs between two runs."""
    names = sorted(predictions.files(str(run)))
    folder = run / predictions.FOLDER
    return {
        name: without_session(pq.read_table(folder / name, partitioning=None)) for name in names
    }


def rows(run: Path) -> pa.Table:
    """Of all parts, in their order."""
    return pa.concat_tables(parts(run).values())


def check_whole(run: Path) -> None:
    assert verify(VerifyConfig(run=str(run))).problems == []
    record = json.loads((run / "run.json").read_text())
    assert record["rows"]["indexed"] == NUM


@pytest.mark.parametrize("order", [pytest.param("sorted", marks=pytest.mark.slow), "halves"])
def test_three_windows_have_the_parts_of_one(
    order: str,
    untrained: Path,
    listed: dict[str, Path],
    tmp_path: Path,
    ray_session: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict(config(untrained, listed[order], tmp_path / "one"))
    make_small(monkeypatch)
    three = config(untrained, listed[order], tmp_path / "three")
    planned = plan.plan(three)
    assert isinstance(planned.images, ManifestFile)
    assert [window.num_rows for window in planned.windows()] == [16, 16, 10]
    assert sum(predict(three).failed.values()) == NUM_BROKEN
    assert parts(tmp_path / "three") == parts(tmp_path / "one")
    assert len(parts(tmp_path / "one")) == 5
    check_whole(tmp_path / "three")
    copy = tmp_path / "three" / "manifest.parquet"
    assert copy.read_bytes() == listed[order].read_bytes()


@pytest.mark.usefixtures("alone", "three_windows")
def test_a_run_stopped_in_its_second_window_continues_there(
    untrained: Path, listed: dict[str, Path], tmp_path: Path
) -> None:
    def stop(_: str, done: int, *__: object) -> None:
        if done >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(config(untrained, listed["halves"], tmp_path / "run"), stop)
    num_kept = sum(part.num_rows for part in parts(tmp_path / "run").values())
    assert 24 <= num_kept < NUM
    again = config(untrained, listed["halves"], tmp_path / "run", resume=True)
    planned = plan.plan(again)
    paths = pa.concat_tables(list(planned.windows()))["path"].to_pylist()
    assert paths == manifest.read(str(listed["halves"])).table["path"].to_pylist()[num_kept:]
    assert estimate(again)["estimate"]["to score"] == NUM - num_kept
    assert predict(again).skipped == num_kept
    check_whole(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_a_run_killed_in_its_second_window_ends_with_the_rows_of_another_in_one(
    untrained: Path, listed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(config(untrained, listed["halves"], tmp_path / "one"))
    settings = {"bundle": untrained, "data": listed["halves"], "output": tmp_path / "three"}
    sizes = {"batch_size": 4, "rows_per_file": 10}
    words = json.dumps({**{name: str(path) for name, path in settings.items()}, **sizes})
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, words],
        env={**os.environ, **environment(ALONE, tmp_path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    num_kept = rows(tmp_path / "three").num_rows
    assert 16 <= num_kept < 32

    make_small(monkeypatch)
    metrics = tmp_path / "metrics.prom"
    again = config(
        untrained, listed["halves"], tmp_path / "three", resume=True, metrics_file=str(metrics)
    )
    assert predict(again).skipped == num_kept
    assert rows(tmp_path / "three").equals(rows(tmp_path / "one"))
    check_whole(tmp_path / "three")
    failed = [line for line in metrics.read_text().splitlines() if "_failed{" in line]
    assert sum(int(line.rpartition(" ")[2]) for line in failed) == NUM_BROKEN


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_an_update_in_windows_has_the_rows_of_one_in_one(
    untrained: Path, listed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = manifest.read(str(listed["sorted"]))
    sizes = pa.array(
        [size + (place % 2) for place, size in enumerate(whole.table["size_bytes"].to_pylist())]
    )
    changed = whole.table.set_column(
        whole.table.column_names.index("size_bytes"), whole.table.schema.field("size_bytes"), sizes
    )
    data = tmp_path / "manifest.parquet"
    for output, window in (("one", 1000), ("three", 8)):
        monkeypatch.setattr(plan, "WINDOW", window)
        manifest.write(manifest.Manifest(whole.table.slice(4), whole.settings), str(data))
        predict(config(untrained, data, tmp_path / output))
        manifest.write(manifest.Manifest(changed.slice(0, NUM - 4), whole.settings), str(data))
        summary = predict(config(untrained, data, tmp_path / output, update=True, gone="drop"))
        assert summary.update is not None
        counts = {name: summary.update[name] for name in ("new", "changed", "gone")}
        assert counts == {"new": 4, "changed": (NUM - 8) // 2, "gone": 4}
        assert verify(VerifyConfig(run=str(tmp_path / output))).problems == []
    assert rows(tmp_path / "three").equals(rows(tmp_path / "one"))
    assert rows(tmp_path / "three").num_rows == NUM - 4


@pytest.mark.usefixtures("alone", "three_windows")
def test_a_manifest_with_an_image_in_two_windows_is_refused_before_anything_is_written(
    untrained: Path, listed: dict[str, Path], tmp_path: Path
) -> None:
    whole = manifest.read(str(listed["sorted"]))
    twice = pa.concat_tables([whole.table, whole.table.slice(0, 1)])
    manifest.write(manifest.Manifest(twice, whole.settings), str(tmp_path / "manifest.parquet"))
    with pytest.raises(ManifestError, match=f"has two rows of {whole.table['path'][0]}"):
        predict(config(untrained, tmp_path / "manifest.parquet", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("alone", "three_windows")
def test_an_image_scored_in_another_window_too_is_found_at_the_end(
    untrained: Path, listed: dict[str, Path], tmp_path: Path
) -> None:
    job = config(untrained, listed["sorted"], tmp_path / "run")
    first = next(iter(plan.plan(job).windows()))["path"][0].as_py()
    written: list[str] = []

    def copy_a_row(*_: object) -> None:
        """As if the first image had been scored twice: its part once more, under another name."""
        folder = tmp_path / "run" / predictions.FOLDER
        if not written and (folder / "part-00002.parquet").exists():
            table = pq.read_table(folder / "part-00000.parquet", partitioning=None).slice(0, 1)
            pq.write_table(table, folder / "part-00099.parquet")
            written.extend(table["path"].to_pylist())

    with pytest.raises(CnnjobsError, match=f"has {NUM + 1} rows for {NUM} images"):
        predict(job, copy_a_row)
    assert written == [first]
