"""Scoring through Ray Data on a real Ray: every image gets one row, with a score or an error."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs import schema
from cnnjobs.cli import main
from cnnjobs.config import IndexConfig, PredictConfig
from cnnjobs.data import synthetic
from cnnjobs.data.index import index
from cnnjobs.errors import RunExistsError, StorageError
from cnnjobs.inference.predict import PredictSummary, predict
from cnnjobs.models import bundle
from cnnjobs.storage import run_dir
from tests.support.cli import without_progress
from tests.support.prediction_tables import without_session

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """95 drawings and 5 broken files."""
    folder = tmp_path_factory.mktemp("hundred") / "archive"
    synthetic.write_archive(folder, num_images=95, num_broken=5, seed=9)
    return folder


@pytest.fixture(scope="module")
def scored(
    untrained: Path, hundred: Path, tmp_path_factory: pytest.TempPathFactory
) -> PredictSummary:
    output = tmp_path_factory.mktemp("scored") / "run"
    return predict(
        PredictConfig(
            bundle=str(untrained), data=str(hundred), output=str(output), rows_per_file=64
        )
    )


@pytest.fixture(scope="module")
def unlabelled(
    untrained: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> PredictSummary:
    """The run on five images in one folder, the first of which was deleted after indexing."""
    folder = tmp_path_factory.mktemp("unlabelled")
    (folder / "flat").mkdir()
    paths = [shutil.copy(path, folder / "flat") for path in sorted(archive.glob("normal/*"))[:5]]
    manifest = str(folder / "manifest.parquet")
    index(IndexConfig(sources=(str(folder / "flat"),), output=manifest))
    Path(paths[0]).unlink()
    return predict(PredictConfig(bundle=str(untrained), data=manifest, output=str(folder / "run")))


def read(summary: PredictSummary) -> pa.Table:
    """The rows of a run, from the files that its record lists."""
    record = json.loads(Path(summary.output, "run.json").read_text())
    files = [Path(summary.output, "predictions", name) for name in record["files"]]
    return pa.concat_tables(pq.read_table(file) for file in files)


def test_every_image_is_one_row_and_bad_ones_say_why(scored: PredictSummary, hundred: Path) -> None:
    rows = read(scored)
    files = sorted(str(path) for path in hundred.glob("*/*"))
    bad = {row["path"]: row["error"] for row in rows.to_pylist() if row["error"] is not None}
    summary = synthetic.write_archive(hundred.parent / "again", num_images=95, seed=9)

    assert sorted(rows["path"].to_pylist()) == files
    assert len(files) == 100
    assert {str(hundred / name) for name in summary.broken} == set(bad)
    assert sorted(error.partition(":")[0] for error in bad.values()) == [
        "empty",
        "not an image",
        "not an image",
        "truncated",
        "truncated",
    ]


def test_the_counts_add_up(scored: PredictSummary) -> None:
    record = json.loads(Path(scored.output, "run.json").read_text())

    assert record["status"] == "done"
    assert record["rows"] == {
        "indexed": 100,
        "scored": 95,
        "failed": {"empty": 1, "not an image": 2, "truncated": 2},
        "skipped": 0,
    }
    assert sum(scored.predictions.values()) == 95
    assert Path(scored.output, "_SUCCESS").exists()


def test_a_failed_image_has_no_prediction_and_any_other_has_all_values(
    scored: PredictSummary, untrained: Path
) -> None:
    described = bundle.read(str(untrained))

    for row in read(scored).to_pylist():
        assert row["run_id"] == scored.run_id
        assert row["model"] == described.name
        values = (row["prediction"], row["probability"], row["width"], row["height"])
        if row["error"] is not None:
            assert values == (None, None, None, None)
            continue
        expected = "opacity" if row["probability"] >= described.threshold else "normal"
        assert row["prediction"] == expected
        assert 0 <= row["probability"] <= 1
        assert min(row["width"], row["height"]) > 200


def test_rows_are_in_the_order_of_the_manifest(scored: PredictSummary) -> None:
    manifest = pq.read_table(Path(scored.output, "manifest.parquet"))

    assert read(scored)["path"].to_pylist() == manifest["path"].to_pylist()


def test_labels_come_from_the_folders(scored: PredictSummary) -> None:
    for row in read(scored).to_pylist():
        assert row["label"] == Path(row["path"]).parent.name


def test_pyarrow_and_pandas_read_the_documented_types(scored: PredictSummary) -> None:
    folder = Path(scored.output, "predictions")

    assert pq.read_table(folder).schema.equals(schema.predictions(2))
    frame = pd.read_parquet(folder)
    assert frame["path"].is_unique
    assert frame["probability"].dtype == np.float32
    assert list(frame.columns) == schema.predictions(2).names


def test_the_scores_equal_those_of_keras_on_the_same_pixels(
    scored: PredictSummary, untrained: Path
) -> None:
    from cnnjobs.imaging import preprocessing

    described = bundle.read(str(untrained))
    model = bundle.load_model(described)
    valid = [row for row in read(scored).to_pylist() if row["error"] is None][:8]
    pixels = np.stack(
        [
            preprocessing.decode(Path(row["path"]).read_bytes(), described.preprocessing).pixels
            for row in valid
        ]
    )

    expected = model.predict_on_batch(pixels)[:, 0]

    np.testing.assert_allclose([row["probability"] for row in valid], expected, atol=1e-6)


def test_the_same_command_gives_the_same_bits_twice(
    scored: PredictSummary, untrained: Path, hundred: Path, tmp_path: Path
) -> None:
    again = predict(
        PredictConfig(bundle=str(untrained), data=str(hundred), output=str(tmp_path / "again"))
    )

    # bit for bit: the files differ only in the run's id and the time
    assert without_session(read(again)).equals(without_session(read(scored)))


def test_one_actor_on_one_core_gives_the_same_rows_as_a_whole_machine(
    scored: PredictSummary, untrained: Path, hundred: Path, tmp_path: Path
) -> None:
    small = {"actors": 1, "cpus_per_actor": 1}
    config = PredictConfig(
        bundle=str(untrained), data=str(hundred), output=str(tmp_path / "run"), **small
    )
    columns = ["path", "prediction", "error"]

    assert read(predict(config)).select(columns).equals(read(scored).select(columns))


def test_more_bad_images_than_allowed_is_exit_code_3_with_all_rows(
    untrained: Path, hundred: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    words = ["predict", str(untrained), str(hundred), "-o", str(output), "--max-errors", "3"]

    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])

    assert ended.value.code == 3
    printed = capsys.readouterr()
    assert json.loads(printed.out)["scored"] == 95
    assert without_progress(printed.err) == (
        f"error: 5 of 100 images failed, but max_errors allows 3; all rows are in {output}.\n"
    )
    assert pq.read_table(output / "predictions").num_rows == 100
    assert (output / "_SUCCESS").exists()


def test_a_stopped_run_continues_after_its_last_part(
    scored: PredictSummary, untrained: Path, hundred: Path, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(scored.output, stopped)
    (stopped / "_SUCCESS").unlink()
    parts = sorted((stopped / "predictions").iterdir())
    assert len(parts) == 2
    parts[1].unlink()
    kept = pq.read_metadata(parts[0]).num_rows
    (stopped / "predictions" / f".part-00001.parquet.{'0' * 32}.partial").write_bytes(b"half a par")

    resumed = predict(
        PredictConfig(bundle=str(untrained), data=str(hundred), output=str(stopped), resume=True)
    )

    assert resumed.skipped == kept
    assert resumed.scored + sum(resumed.failed.values()) == 100 - kept
    assert without_session(read(resumed)).equals(without_session(read(scored)))
    assert read(resumed).slice(0, kept).equals(read(scored).slice(0, kept))


def test_resuming_a_finished_run_does_nothing(
    scored: PredictSummary, untrained: Path, hundred: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(scored.output).rglob("*")}

    resumed = predict(
        PredictConfig(bundle=str(untrained), data=str(hundred), output=scored.output, resume=True)
    )

    assert resumed.already_finished
    assert resumed.skipped == 100
    assert {path: path.stat().st_mtime_ns for path in Path(scored.output).rglob("*")} == before


def test_an_output_that_holds_a_run_is_refused_and_kept(
    scored: PredictSummary, untrained: Path, hundred: Path
) -> None:
    before = Path(scored.output, "run.json").read_bytes()

    with pytest.raises(RunExistsError) as refused:
        predict(PredictConfig(bundle=str(untrained), data=str(hundred), output=scored.output))

    assert str(refused.value) == (
        f"{scored.output} already contains a run; add --resume to continue it, --overwrite to "
        "replace it, or choose another directory."
    )
    assert Path(scored.output, "run.json").read_bytes() == before


def test_overwriting_replaces_the_whole_run(
    scored: PredictSummary, untrained: Path, archive: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    shutil.copytree(scored.output, output)
    left_over = output / "predictions" / f".part-00009.parquet.{'0' * 32}.partial"
    left_over.write_bytes(b"half a part")

    second = predict(
        PredictConfig(bundle=str(untrained), data=str(archive), output=str(output), overwrite=True)
    )

    assert second.run_id != scored.run_id
    assert [path.name for path in (output / "predictions").iterdir()] == ["part-00000.parquet"]


def test_images_deleted_since_indexing_are_rows_with_an_error(
    unlabelled: PredictSummary,
) -> None:
    first, *others = read(unlabelled).to_pylist()

    assert not Path(first["path"]).exists()
    assert first["error"] == "missing: the file is gone"
    assert others[0]["error"] is None


def test_unlabelled_images_are_scored_with_a_null_label(unlabelled: PredictSummary) -> None:
    rows = read(unlabelled)

    assert rows["label"].to_pylist() == [None] * 5
    assert rows["probability"].null_count < 5


def test_a_failed_run_is_recorded_as_failed_and_has_no_success_file(
    scored: PredictSummary, untrained: Path, hundred: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    output.mkdir()
    shutil.copy(Path(scored.output, "run.json"), output)
    (output / "predictions").write_bytes(b"a file where a folder should be")

    with pytest.raises(StorageError, match=r"part-00000\.parquet cannot be written"):
        predict(
            PredictConfig(bundle=str(untrained), data=str(hundred), output=str(output), resume=True)
        )

    record = run_dir.read_record(str(output))
    assert record is not None
    assert record["status"] == "failed"
    assert not run_dir.is_finished(str(output))
