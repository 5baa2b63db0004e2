"""What a run may be written to, by whom, and what the next run finds there; verify."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnjobs.cli import main
from cnnjobs.config import EvaluateConfig, PredictConfig, TrainConfig, VerifyConfig
from cnnjobs.data import synthetic
from cnnjobs.errors import InputError, RunDamagedError, RunExistsError, RunInUseError
from cnnjobs.evaluation.evaluate import evaluate
from cnnjobs.inference import verify as verify_run
from cnnjobs.inference.predict import predict
from cnnjobs.inference.verify import verify
from cnnjobs.storage import run_lock
from cnnjobs.training.train import train
from tests.support.prediction_runs import by_path, config

pytestmark = pytest.mark.usefixtures("all_alone")

FAKE = json.dumps({"run_version": 1})


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `verify` looks images up, a few at a time."""
    monkeypatch.setattr(verify_run, "_ROWS_AT_ONCE", 5)
    monkeypatch.setattr("cnnjobs.inference.parts.FEW_IMAGES", 5)
    monkeypatch.setattr("cnnjobs.inference.parts.MANY_IMAGES", 5)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder of images that also holds the record of some run."""
    synthetic.write_archive(tmp_path / "lab", num_images=8, num_broken=0, seed=1)
    (tmp_path / "lab" / "run.json").write_text(FAKE)
    return tmp_path / "lab"


@pytest.fixture
def scored(scored_folder: Path, tmp_path: Path) -> Path:
    """A copy of a scored archive and its run, made with the same names."""
    before = tmp_path / "before"
    shutil.copytree(scored_folder, before)
    yield scored_folder
    shutil.rmtree(scored_folder)
    shutil.copytree(before, scored_folder)


@pytest.mark.parametrize("output", ["lab", "lab/normal/../", "link", "lab/scored", "."])
def test_no_command_writes_where_its_images_are(
    lab: Path, untrained: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab.parent / "link").symlink_to(lab)
    monkeypatch.chdir(lab.parent)
    before = _files(lab)
    jobs: list[tuple[Callable[[Any], Any], Any]] = [
        (predict, PredictConfig(bundle=str(untrained), data="lab", output=output, overwrite=True)),
        (train, TrainConfig(data="lab", output=output, overwrite=True)),
        (evaluate, EvaluateConfig(bundle=str(untrained), data="lab", output=output)),
    ]
    for job, settings in jobs:
        with pytest.raises(InputError, match="the input lab; choose another output"):
            job(settings)
    assert _files(lab) == before


def test_an_output_with_the_model_or_the_images_of_a_manifest_is_refused(
    lab: Path, untrained: Path, tmp_path: Path
) -> None:
    shutil.copytree(untrained / "bundle", tmp_path / "run" / "bundle")
    (tmp_path / "run" / "run.json").write_text(FAKE)
    main_index = ["index", str(lab), "-o", str(tmp_path / "m.parquet"), "-q"]
    with pytest.raises(SystemExit):
        main(main_index)
    before = _files(tmp_path)
    for data, output in ((lab, tmp_path / "run"), (tmp_path / "m.parquet", lab)):
        with pytest.raises(InputError, match="choose another output"):
            predict(
                PredictConfig(
                    bundle=str(tmp_path / "run"),
                    data=str(data),
                    output=str(output),
                    overwrite=True,
                )
            )
    assert _files(tmp_path) == before


def test_overwriting_deletes_no_file_that_the_run_did_not_write(
    scored: Path, untrained: Path
) -> None:
    (scored / "run" / ".git").mkdir()
    (scored / "run" / ".git" / "HEAD").write_text("ref: refs/heads/main")
    before = _files(scored)
    with pytest.raises(RunExistsError, match=r"contains \.git/HEAD, which its run did not write"):
        predict(config(untrained, scored, overwrite=True))
    assert _files(scored) == before


def test_overwriting_deletes_no_part_of_another_run(scored: Path, untrained: Path) -> None:
    parts = scored / "run" / "predictions"
    shutil.copy(parts / "part-00000.parquet", parts / "part-00007.parquet")
    with pytest.raises(RunExistsError, match="contains predictions/part-00007"):
        predict(config(untrained, scored, overwrite=True))


def test_a_run_is_not_replaced_when_the_new_one_cannot_start(scored: Path, untrained: Path) -> None:
    before = _files(scored)
    with pytest.raises(InputError):
        predict(config(untrained, scored, overwrite=True, split="test"))
    with pytest.raises(InputError):
        predict(config(scored / "archive", scored, overwrite=True))
    assert _files(scored) == before


def test_files_of_another_kind_are_not_replaced_by_index_report_compare_and_plots(
    scored: Path, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.parquet"
    image = next((scored / "archive" / "normal").glob("*.png"))
    shutil.copy(image, tmp_path / "plot.png")
    mine.write_bytes(b"mine")
    run, bundle, data = str(scored / "run"), str(untrained), str(scored / "archive")
    lines = [
        ["index", data, "-o", str(mine), "--overwrite"],
        ["report", run, "-o", str(mine), "--overwrite"],
        ["compare", run, run, "-o", str(mine)],
        ["inspect", str(image), "--plot", str(tmp_path / "plot.png")],
        ["predict-one", bundle, str(image), "--plot", str(tmp_path / "plot.png")],
        ["index", data, "-o", f"{data}/manifest.parquet"],
        ["inspect", data, "--plot", data],
    ]
    before = _files(tmp_path) | _files(scored)
    for line in lines:
        with pytest.raises(SystemExit) as ended:
            main(line)
        assert (ended.value.code, line) == (2, line)
    assert _files(tmp_path) | _files(scored) == before
    assert "Traceback" not in capsys.readouterr().err


def test_a_second_writer_of_a_run_is_refused(scored: Path, untrained: Path) -> None:
    before = _files(scored)
    with run_lock.hold(str(scored / "run")):
        for flags in ({"overwrite": True}, {"resume": True, "batch_size": 32}):
            (scored / "run" / "_SUCCESS").unlink(missing_ok=True)
            with pytest.raises(RunInUseError, match=f"by process {os.getpid()} on "):
                predict(config(untrained, scored, **flags))
        (problem, *_) = verify(VerifyConfig(run=str(scored / "run"))).problems
        assert problem.startswith(f"it is being written by process {os.getpid()} on ")
    (scored / "run" / "_SUCCESS").touch()
    assert _files(scored) == before


def test_of_two_starts_at_once_one_scores_and_the_other_is_refused(
    drawn: Path, untrained: Path, tmp_path: Path, ray_address: str
) -> None:
    words = [sys.executable, "-m", "cnnjobs", "predict", str(untrained), str(drawn), "-q"]
    environment = {**os.environ, "RAY_ADDRESS": ray_address}
    both = [
        subprocess.Popen(
            [*words, "-o", str(tmp_path / "run")],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    errors = [each.communicate()[1] for each in both]
    assert sorted(each.returncode for each in both) == [0, 2], errors
    assert "/run is being written by process" in "".join(errors)
    assert verify(VerifyConfig(run=str(tmp_path / "run"))).problems == []


@pytest.mark.parametrize(
    "spelling", ["{a}/normal/..", "{a}/", "link", "./archive", "{a}/../archive"]
)
def test_the_same_archive_under_another_spelling_has_nothing_new(
    scored: Path, untrained: Path, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scored / "link").symlink_to(scored / "archive")
    monkeypatch.chdir(scored)
    data = spelling.format(a=scored / "archive")
    summary = predict(
        PredictConfig(bundle=str(untrained), data=data, output=f"{scored}/run", update=True)
    )
    assert summary.already_finished
    assert set(summary.update.values()) == {0}


def test_an_update_with_another_archive_stops(
    scored: Path, untrained: Path, tmp_path: Path
) -> None:
    shutil.copytree(scored / "archive", tmp_path / "moved")
    before = _files(scored)
    with pytest.raises(InputError) as refused:
        predict(
            PredictConfig(
                bundle=str(untrained),
                data=str(tmp_path / "moved"),
                output=f"{scored}/run",
                update=True,
            )
        )
    assert str(refused.value) == (
        f"42 of the run's 42 images are no longer in {tmp_path}/moved, and 42 of its 42 are new; "
        "an update needs the same archive under the same name. Score another archive into another "
        "directory."
    )
    assert _files(scored) == before


def test_the_images_of_a_deleted_part_are_scored_again(
    scored: Path, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = by_path(scored)
    (scored / "run" / "predictions" / "part-00000.parquet").unlink()
    problems = verify(VerifyConfig(run=f"{scored}/run")).problems
    assert problems[0] == f"{scored}/run/predictions/part-00000.parquet is missing"
    assert "no row for" in problems[1]
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(untrained), f"{scored}/archive", "-o", f"{scored}/run", "--resume"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert "part-00000.parquet had been deleted; the images were scored again" in output
    assert by_path(scored) == before
    assert verify(VerifyConfig(run=f"{scored}/run")).problems == []


@pytest.mark.parametrize("mode", ["resume", "update"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("part-00000.parquet", b"PAR1", "is not the file that its run wrote"),
        ("part-00009.parquet", b"PAR1", "is damaged or not a table of predictions"),
        ("notes.txt", b"mine", "is not a file of its run"),
        ("label=normal/extra.parquet", b"mine", "is not a file of its run"),
    ],
)
def test_a_foreign_or_damaged_file_among_the_parts_is_named(
    scored: Path, untrained: Path, name: str, content: bytes, message: str, mode: str
) -> None:
    file = scored / "run" / "predictions" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    before = _files(scored)
    with pytest.raises(RunDamagedError) as refused:
        predict(config(untrained, scored, **{mode: True}))
    assert str(refused.value).startswith(f"{file} {message}")
    assert _files(scored) == before
    problems = verify(VerifyConfig(run=f"{scored}/run")).problems
    assert problems[0].startswith(f"{file} {message}")


def test_a_part_of_another_run_is_named(scored: Path, untrained: Path, tmp_path: Path) -> None:
    shutil.copytree(scored, tmp_path / "other")
    predict(config(untrained, tmp_path / "other", overwrite=True))
    part = tmp_path / "other" / "run" / "predictions" / "part-00000.parquet"
    shutil.copy(part, scored / "run" / "predictions" / "part-00005.parquet")
    with pytest.raises(RunDamagedError, match=r"part-00005\.parquet is from another run"):
        predict(config(untrained, scored, resume=True))


def test_verify_finds_a_row_twice_a_stale_csv_and_another_manifest(
    scored: Path, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scored / "run"
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(run)])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{run} is whole: 42 rows, parts checked: 3\n"
    # as the book-keeping of an older version would have left it: names without hashes
    record = json.loads((run / "run.json").read_text())
    del record["parts"]
    record["files"].append("part-00003.parquet")
    (run / "run.json").write_text(json.dumps(record))
    shutil.copy(
        run / "predictions" / "part-00001.parquet", run / "predictions" / "part-00003.parquet"
    )
    shutil.copy(untrained / "manifest.parquet", run / "manifest.parquet")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(run)])
    assert ended.value.code == 1
    output = capsys.readouterr()
    assert "more than one row for" in output.out
    assert "manifest.parquet is not the one that was scored" in output.out
    assert "of no image in the manifest" in output.out
    assert "predictions.csv does not have the rows of the table" in output.out
    assert output.err.startswith(f"error: {run} is not whole: ")


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(file): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
    }
