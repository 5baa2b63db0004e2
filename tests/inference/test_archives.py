"""Scoring images in tar, zip and Parquet: the rows of loose files, and few requests to S3."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cnnjobs.cluster import presence
from cnnjobs.config import PredictConfig
from cnnjobs.data import sources
from cnnjobs.imaging.decoder import Decoder
from cnnjobs.imaging.preprocessing import Preprocessing
from cnnjobs.imaging.reading import Policy
from cnnjobs.inference import plan
from cnnjobs.inference.predict import PredictSummary, predict
from cnnjobs.storage import filesystem
from tests.support.disturbed_runs import read_rows
from tests.support.fault_proxy import FaultProxy, Rule
from tests.support.shards import WRITERS, png, write_tar

FILES = [(f"{('dark', 'bright')[n % 2]}/{n:02d}.png", png(n)) for n in range(24)]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score without Ray although the tests' is initialized in this process."""
    monkeypatch.setattr(presence, "is_needed", lambda address: bool(address))


def score(inputs: Path, data: object, output: Path, **settings: Any) -> PredictSummary:
    settings = {"batch_size": 4, "rows_per_file": 8, **settings}
    return predict(
        PredictConfig(bundle=str(inputs / "bundle"), data=str(data), output=str(output), **settings)
    )


def scores(output: Path) -> dict[str, tuple[Any, ...]]:
    """Label, probability and error by the name inside; each once."""
    rows = read_rows(output).select(["path", "label", "probability", "error"]).to_pylist()
    found = {"/".join(row["path"].replace("::", "/").split("/")[-2:]): row for row in rows}
    assert len(found) == len(rows)
    return {name: tuple(row.values())[1:] for name, row in found.items()}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder with one archive of each kind, of eight images each."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, (suffix, write) in enumerate(WRITERS.items()):
        write(folder / f"{number}{suffix}", FILES[8 * number : 8 * number + 8])
    return folder


def test_images_in_archives_score_as_loose_files_and_in_their_order(
    ray_session: None, inputs: Path, shards: Path, tmp_path: Path
) -> None:
    for name, data in FILES:
        (tmp_path / "loose" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "loose" / name).write_bytes(data)

    summary = score(inputs, shards, tmp_path / "run", address="local")
    score(inputs, tmp_path / "loose", tmp_path / "expected")

    assert (summary.scored, summary.failed) == (24, {})
    assert scores(tmp_path / "run") == scores(tmp_path / "expected")
    assert list(scores(tmp_path / "run")) == [name for name, _ in FILES]


def test_a_run_of_archives_resumes_and_takes_in_a_changed_shard(
    inputs: Path, shards: Path, tmp_path: Path, alone: None
) -> None:
    output = tmp_path / "run"
    score(inputs, shards, output)
    first = read_rows(output)
    assert score(inputs, shards, output, resume=True).skipped == 24

    write_tar(tmp_path / "new", [*FILES[1:8], ("dark/new.png", png(50))])
    shutil.move(tmp_path / "new", shards / "0.tar")
    summary = score(inputs, shards, output, update=True, gone="drop")

    assert summary.update == {"new": 1, "changed": 7, "again": 0, "relabelled": 0, "gone": 1}
    after = read_rows(output)
    assert after.num_rows == len(scores(output)) == 24
    others = [
        table.filter(pa.array([".tar::" not in path for path in table["path"].to_pylist()]))
        .sort_by("path")
        .select(["path", "probability"])
        for table in (first, after)
    ]
    assert others[0] == others[1]


def test_archives_scored_in_windows_have_the_rows_of_one(
    inputs: Path, shards: Path, tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "manifest.parquet"
    sources.open_data(str(shards), for_training=False).write(data)
    score(inputs, data, tmp_path / "one")

    # from the middle of an archive to that of the next
    monkeypatch.setattr(plan, "WINDOW", 12)
    summary = score(inputs, data, tmp_path / "two")

    assert (summary.scored, summary.failed) == (24, {})
    assert read_rows(tmp_path / "two").equals(read_rows(tmp_path / "one"))


def test_damaged_archives_are_rows_and_lines_and_the_rest_is_scored(
    inputs: Path, shards: Path, tmp_path: Path, alone: None, caplog: pytest.LogCaptureFixture
) -> None:
    with (shards / "0.tar").open("r+b") as file:
        file.truncate(2400)
    (shards / "4.zip").write_bytes(b"no zip")

    summary = score(inputs, shards, tmp_path / "run")

    assert (summary.scored, summary.failed) == (17, {"damaged": 1})
    errors = [error for *_, error in scores(tmp_path / "run").values() if error]
    assert errors == ["damaged: the archive ends in the middle of it"]
    assert "0.tar (it ends in the middle of a file)" in caplog.text
    assert "4.zip (File is not a zip file)" in caplog.text


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_block_of_rows_takes_one_get_of_a_shard_on_s3(
    s3: str, faults: FaultProxy, tmp_path: Path, suffix: str
) -> None:
    files = [(f"{number:03d}.png", png(number)) for number in range(300)]
    WRITERS[suffix](tmp_path / f"a{suffix}", files)
    for number in range(2):
        data = (tmp_path / f"a{suffix}").read_bytes()
        filesystem.write_bytes(f"{s3}/{number}{suffix}", data)
    faults.rules = gets = [Rule("delay", rf"GET .*/{number}{suffix}") for number in range(2)]

    rows = sources.open_data(s3, for_training=False).table
    decoder = Decoder([Preprocessing(height=24, width=24)], Policy(), threads=2)
    images = [image() for image in decoder.begin(rows)]

    assert rows["path"].to_pylist() == [
        f"{s3}/{number}{suffix}::{name}" for number in range(2) for name, _ in files
    ]
    assert all(isinstance(image.decoded, list) for image in images)
    # one for listing and reading, and one byte that shows the right to read
    assert 2 <= faults.injected["delay"] <= 3, gets


def test_an_object_that_was_replaced_is_read_as_it_is_now(s3: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", FILES[:8])
    filesystem.write_bytes(f"{s3}/a.tar", (tmp_path / "a.tar").read_bytes())
    rows = sources.open_data(f"{s3}/a.tar", for_training=False).table
    write_tar(tmp_path / "a.tar", FILES[7::-1])
    filesystem.write_bytes(f"{s3}/a.tar", (tmp_path / "a.tar").read_bytes())

    decoder = Decoder([Preprocessing(height=24, width=24)], Policy(), threads=2)
    images = [image() for image in decoder.begin(rows)]

    assert all(isinstance(image.decoded, list) for image in images)
    contents = [filesystem.read_bytes(path) for path in rows["path"].to_pylist()]
    assert contents == [data for _, data in FILES[:8]]
