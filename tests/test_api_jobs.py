"""The jobs called from Python, on a local Ray, and the predictions they leave."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cnnjobs
from cnnjobs.storage import filesystem, run_dir
from tests.support.bundles import write_bundle
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("ray_session")


Report = tuple[str, int, int | None]


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    """What `scored` reported of its progress."""
    return []


@pytest.fixture(scope="module")
def scored(
    ray_session: None,
    untrained: Path,
    archive: Path,
    reports: list[Report],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, cnnjobs.PredictSummary]:
    """A run of `predict` in several parts, and its summary."""
    output = tmp_path_factory.mktemp("runs") / "scored"

    def progress(step: str, done: int, total: int | None, note: str = "") -> None:
        reports.append((step, done, total))

    config = cnnjobs.PredictConfig(
        bundle=str(untrained / "bundle"), data=str(archive), output=str(output), rows_per_file=16
    )
    return output, cnnjobs.predict(config, progress=progress)


def copy(run: Path, to: Path, **changes: object) -> Path:
    """A copy of a run, with changes to its record; None takes a fact away."""
    filesystem.write_folder(
        str(to),
        [
            (str(file.relative_to(run)), file.read_bytes())
            for file in run.rglob("*")
            if file.is_file()
        ],
    )
    record = json.loads((to / "run.json").read_text())
    record = {k: v for k, v in (record | changes).items() if v is not None}
    (to / "run.json").write_text(json.dumps(record))
    return to


def test_predict_returns_the_counts_and_reports_its_progress(
    scored: tuple[Path, cnnjobs.PredictSummary], reports: list[Report]
) -> None:
    _, summary = scored

    assert isinstance(summary, cnnjobs.PredictSummary)
    assert (summary.indexed, summary.scored, sum(summary.failed.values())) == (45, 40, 5)
    assert reports[:2] == [("list", 45, None), ("predict", 0, 45)]
    assert reports[-1] == ("predict", 45, 45)


def test_too_many_bad_images_raise_with_the_summary_of_a_finished_table(
    untrained: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scored"
    with pytest.raises(
        cnnjobs.TooManyBadImages, match=r"^5 of 45 images failed, but max_errors "
    ) as raised:
        cnnjobs.predict(
            bundle=str(untrained / "bundle"),
            data=str(archive),
            output=str(output),
            max_errors="4",
            partition_by="label",
        )
    summary = raised.value.summary
    assert isinstance(summary, cnnjobs.PredictSummary)
    assert (summary.output, summary.scored, summary.left) == (str(output), 40, 0)
    assert raised.value.exit_code == 3
    assert capsys.readouterr().out == ""
    # also from parts in folders
    assert len(list((output / "predictions").iterdir())) == 2
    assert cnnjobs.read_predictions(output).num_rows == 45


def test_the_images_of_evaluate_and_predict_one_are_typed(
    untrained: Path, archive: Path, tmp_path: Path
) -> None:
    bundle = str(untrained / "bundle")
    evaluated = cnnjobs.evaluate(
        bundle=bundle, data=str(untrained / "manifest.parquet"), audit=False, resamples=0
    )
    assert evaluated.output is None
    assert evaluated.most_wrong[0].label != evaluated.most_wrong[0].prediction

    file = evaluated.most_wrong[0].path
    (one,) = cnnjobs.predict_one(bundle=bundle, images=(file,)).images
    assert isinstance(one, cnnjobs.BinaryPrediction)
    assert (one.path, one.prediction) == (file, evaluated.most_wrong[0].prediction)

    digits = write_bundle(tmp_path / "digits", "digits")
    (one,) = cnnjobs.predict_one(bundle=digits.uri, images=(file,)).images
    assert isinstance(one, cnnjobs.MulticlassPrediction)
    assert one.probabilities is not None
    assert len(one.probabilities) == 10
    assert one.probability == max(one.probabilities)
    missing = cnnjobs.predict_one(bundle=digits.uri, images=(str(tmp_path / "gone.png"),))
    assert (missing.images[0].probability, missing.images[0].error) == (
        None,
        "missing: the file is gone",
    )


def test_read_predictions_gives_every_row_once_as_arrow_or_pandas(
    scored: tuple[Path, cnnjobs.PredictSummary], archive: Path
) -> None:
    run, summary = scored
    table = cnnjobs.read_predictions(run)
    frame = cnnjobs.read_predictions(str(run), pandas=True)

    assert isinstance(table, pa.Table)
    files = {str(file) for file in archive.glob("*/*")}
    assert sorted(table["path"].to_pylist()) == sorted(files)
    assert table["error"].null_count == summary.scored
    assert set(table["run_id"].to_pylist()) == {summary.run_id}
    assert isinstance(frame, pd.DataFrame)
    pd.testing.assert_frame_equal(frame, table.to_pandas())


def test_a_file_that_the_run_does_not_name_has_no_rows(
    scored: tuple[Path, cnnjobs.PredictSummary], tmp_path: Path
) -> None:
    run = copy(scored[0], tmp_path / "run")
    before = cnnjobs.read_predictions(run)
    part = pq.read_table(run / "predictions" / "part-00000.parquet")
    pq.write_table(part, run / "predictions" / "part-00099.parquet")
    (run / "predictions" / "label=normal").mkdir()
    pq.write_table(part, run / "predictions" / "label=normal" / "part-00000.parquet")

    assert pq.read_table(run / "predictions", partitioning=None).num_rows > before.num_rows
    assert cnnjobs.read_predictions(run).equals(before)


def test_a_run_that_is_not_finished_is_refused(
    scored: tuple[Path, cnnjobs.PredictSummary], tmp_path: Path
) -> None:
    run = copy(scored[0], tmp_path / "run", status="stopped")
    (run / "_SUCCESS").unlink()
    message = (
        rf"^the run in {run} is not finished \(status stopped\); wait for it, or continue it "
        r"with --resume\.$"
    )
    with pytest.raises(cnnjobs.InputError, match=message):
        cnnjobs.read_predictions(run)


def test_a_run_without_predictions_and_what_is_not_a_run_are_refused(
    scored: tuple[Path, cnnjobs.PredictSummary], tmp_path: Path
) -> None:
    trained = copy(scored[0], tmp_path / "trained", command="train", files=None)
    with pytest.raises(cnnjobs.InputError, match="is of train, which writes no predictions"):
        cnnjobs.read_predictions(trained)
    with pytest.raises(cnnjobs.InputError, match=f"^{tmp_path} is not a run; give the output of"):
        cnnjobs.read_predictions(tmp_path)


def test_a_file_of_the_run_that_is_gone_is_a_storage_error(
    scored: tuple[Path, cnnjobs.PredictSummary], tmp_path: Path
) -> None:
    run = copy(scored[0], tmp_path / "run")
    (run / "predictions" / "part-00001.parquet").unlink()
    with pytest.raises(cnnjobs.StorageError, match=r"has lost a file that its run\.json names"):
        cnnjobs.read_predictions(run)


def test_without_pandas_one_line_says_so(
    scored: tuple[Path, cnnjobs.PredictSummary], untrained: Path
) -> None:
    code = f"""
import sys

class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)

sys.meta_path.insert(0, NoPandas())
import cnnjobs
print(cnnjobs.read_predictions({str(scored[0])!r}).num_rows)
for read in (
    lambda: cnnjobs.read_predictions({str(scored[0])!r}, pandas=True),
    cnnjobs.Manifest.read({str(untrained / "manifest.parquet")!r}).to_pandas,
):
    try:
        read()
    except cnnjobs.InputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message = "pandas is not installed; use the Arrow table, or: pip install pandas."
    assert done.stdout.splitlines() == ["45", message, message]


def test_the_report_is_written_and_stays_a_function(
    scored: tuple[Path, cnnjobs.PredictSummary], tmp_path: Path
) -> None:
    summary = cnnjobs.report(runs=(str(scored[0]),), output=str(tmp_path / "page.html"))
    assert isinstance(summary, cnnjobs.ReportSummary)
    page = (tmp_path / "page.html").read_text()
    assert f"cnnjobs predict {run_dir.read_record(str(scored[0]))['config']['bundle']}" in page  # type: ignore[index]
    with pytest.raises(cnnjobs.RunExistsError):
        cnnjobs.report(runs=(str(scored[0]),), output=str(tmp_path / "page.html"))


def test_the_example_script_scores_and_then_only_what_is_new(
    untrained: Path,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = str(ROOT / "examples" / "score_archive.py")
    words = [script, str(untrained / "bundle"), str(archive), str(tmp_path / "scored")]
    monkeypatch.setattr(sys, "argv", words)

    runpy.run_path(script, run_name="__main__")
    warning, counts, *first = capsys.readouterr().out.splitlines()
    assert warning.startswith("warning: 5 of 45 images failed, but max_errors allows 5%; all rows")
    assert counts == "40 scored, 5 failed, 0 known"
    assert len(first) == 10
    scores = [float(line.split()[0]) for line in first]
    assert scores == sorted(scores, reverse=True)

    runpy.run_path(script, run_name="__main__")
    assert capsys.readouterr().out.splitlines()[1:] == ["0 scored, 0 failed, 45 known", *first]
