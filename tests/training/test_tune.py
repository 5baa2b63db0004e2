"""The search for settings on a real Ray: one trial finishes, one is stopped, one fails."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnjobs.config import TuneConfig
from cnnjobs.errors import InputError, RunExistsError, TrainingError
from cnnjobs.models import bundle
from cnnjobs.storage import run_dir
from cnnjobs.training.tune import TuneSummary, plan, tune
from tests.support.processes import descendants, kill_all, wait_until

SPACE = "learning_rate: {choice: [1.0e-3, 1.0e-12, 1.0e+39]}\nbatch_size: {randint: [6, 8]}\n"

#: Draws, in this order, the rates 1e-3 (learns), 1e-12 (does not learn), 1e39 (inf in float32).
SEED = 8


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images of 28 x 28 in two classes that a network learns at once."""
    folder = tmp_path_factory.mktemp("stripes")
    random = np.random.default_rng(0)
    for label in ("normal", "striped"):
        (folder / label).mkdir()
        for number in range(24):
            image = random.integers(0, 40, (28, 28), dtype=np.uint8)
            if label == "striped":
                image[:, ::4] += 200
            cv2.imwrite(str(folder / label / f"{number}.png"), image)
    return folder


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("space") / "space.yaml"
    file.write_text(SPACE)
    return file


@pytest.fixture(scope="module")
def searched(
    ray_session: None, stripes: Path, space: Path, tmp_path_factory: pytest.TempPathFactory
) -> TuneSummary:
    output = tmp_path_factory.mktemp("runs") / "search"
    return tune(_config(stripes, space, output))


def _config(stripes: Path, space: Path, output: Path, **more: object) -> TuneConfig:
    settings = {"trials": 3, "model": "digits", "epochs": 2, "seed": SEED, **more}
    return TuneConfig(data=str(stripes), space=str(space), output=str(output), **settings)


def test_a_search_ends_with_one_trial_finished_one_stopped_and_one_failed(
    searched: TuneSummary,
) -> None:
    by_number = sorted(searched.trials, key=lambda trial: trial.number)

    assert [trial.status for trial in by_number] == ["finished", "stopped", "failed"]
    assert [trial.settings["learning_rate"] for trial in by_number] == [1e-3, 1e-12, 1e39]
    assert [trial.epochs for trial in by_number][:2] == [2, 1]
    assert searched.monitor == "val_auroc"
    assert searched.best == by_number[0]


def test_a_failed_trial_is_a_row_with_its_error_in_one_line(searched: TuneSummary) -> None:
    last = searched.trials[-1]

    assert last.number == 3
    assert last.error is not None
    assert last.error.startswith("the ")
    assert " is nan" in last.error or " is inf" in last.error
    assert "\n" not in last.error


def test_trials_are_ranked_by_the_monitored_value(searched: TuneSummary) -> None:
    first, second, _ = searched.trials

    assert first.value is not None
    assert second.value is not None
    assert first.value > second.value


def test_the_bundle_is_that_of_the_best_trial(searched: TuneSummary) -> None:
    kept = bundle.read(searched.output)
    of_trial = bundle.read(f"{searched.output}/trials/{searched.best.number}")

    assert kept.uri == searched.bundle == f"{searched.output}/bundle"
    assert kept == of_trial
    assert bundle.load_model(kept).count_params() > 0
    assert kept.metrics["auroc"] == pytest.approx(searched.best.value, abs=1e-6)


def test_a_trial_that_did_not_finish_leaves_no_bundle(searched: TuneSummary) -> None:
    trials = Path(searched.output, "trials")

    assert sorted(folder.name for folder in trials.iterdir()) == ["1", "2", "3"]
    assert sorted(folder.name for folder in (trials / "1").iterdir()) == [
        "bundle",
        "checkpoints",
        "ended.json",
        "tensorboard",
    ]
    assert not (trials / "2" / "bundle").exists()
    assert not (trials / "3" / "bundle").exists()


def test_the_table_has_one_row_per_trial(searched: TuneSummary) -> None:
    text = Path(searched.output, "trials.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))

    assert list(rows[0]) == [
        "trial",
        "status",
        "epochs",
        "val_auroc",
        "learning_rate",
        "batch_size",
        "error",
    ]
    assert [row["trial"] for row in rows] == ["1", "2", "3"]
    assert [row["status"] for row in rows] == ["finished", "stopped", "failed"]
    assert float(rows[0]["val_auroc"]) == searched.best.value
    assert [bool(row["error"]) for row in rows] == [False, False, True]


def test_the_run_directory_records_the_results(searched: TuneSummary) -> None:
    record = json.loads(Path(searched.output, "run.json").read_text())

    assert Path(searched.output, "_SUCCESS").exists()
    assert record["status"] == "done"
    assert record["command"] == "tune"
    assert record["model"] == searched.model
    assert record["seeds"]["settings of trials"] == record["seeds"]["weights"] == SEED
    assert record["summary"]["best"]["number"] == searched.best.number
    # Ray's own results were deleted with their temporary folder
    assert sorted(path.name for path in Path(searched.output).iterdir()) == [
        "_SUCCESS",
        "bundle",
        "manifest.parquet",
        "run.json",
        "trials",
        "trials.csv",
    ]


def test_a_plan_draws_the_settings_that_the_search_then_tries(
    searched: TuneSummary, stripes: Path, space: Path, tmp_path: Path
) -> None:
    planned = plan(_config(stripes, space, tmp_path / "run"))

    tried = sorted(searched.trials, key=lambda trial: trial.number)
    assert planned.settings == [trial.settings for trial in tried]
    assert planned.facts["trials"] == {trial.number: trial.settings for trial in tried}
    assert not (tmp_path / "run").exists()


def test_a_search_without_a_finished_trial_fails_with_the_error_of_the_first(
    ray_session: None, stripes: Path, tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: {choice: [1.0e+39]}\n")

    with pytest.raises(
        TrainingError,
        match=r"^no trial finished, 1 of 1 failed; trial 1: the .* is (nan|inf)",
    ):
        tune(_config(stripes, space, tmp_path / "run", trials=1))

    record = run_dir.read_record(str(tmp_path / "run"))
    assert record is not None
    assert record["status"] == "failed"
    assert (tmp_path / "run" / "trials.csv").exists()
    assert not (tmp_path / "run" / "bundle").exists()


def test_an_auroc_of_three_classes_cannot_be_monitored(
    stripes: Path, space: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for label, folder in (("a", "normal"), ("b", "striped")):
        (data / label).symlink_to(stripes / folder)
    (data / "c").mkdir()
    for number in range(24):
        image = np.full((28, 28), 100 + number, np.uint8)
        cv2.imwrite(str(data / "c" / f"{number}.png"), image)

    with pytest.raises(InputError) as refused:
        plan(_config(data, space, tmp_path / "run", monitor="val_auroc"))

    assert str(refused.value) == (
        f"val_auroc is for two classes, {data} has 3; monitor val_accuracy or val_loss."
    )


def test_models_of_different_sizes_cannot_be_searched_together(
    stripes: Path, tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("model: {choice: [covid, digits]}\n")

    with pytest.raises(InputError) as refused:
        plan(_config(stripes, space, tmp_path / "run", trials=20))

    assert str(refused.value) == (
        f"{space}: model must be one of models that take images of the same size, got "
        "covid 256x256, digits 28x28; images are decoded once for all trials."
    )


@pytest.mark.slow
@pytest.mark.parametrize("killed_in_trial", [1, 2])
def test_a_search_that_was_killed_and_resumed_ends_as_one_that_was_not(
    searched: TuneSummary, stripes: Path, space: Path, tmp_path: Path, killed_in_trial: int
) -> None:
    output = tmp_path / "search"
    _search_until(stripes, space, output, f"trials/{killed_in_trial}/checkpoints/last.npz")
    first = output / "trials" / "1" / "bundle" / "model.keras"
    written = first.stat().st_mtime_ns if killed_in_trial == 2 else None

    again = tune(_config(stripes, space, output, resume=True))

    assert again.trials == searched.trials
    assert again.best == searched.best
    assert bundle.read(again.bundle).fingerprint == bundle.read(searched.bundle).fingerprint
    if written is not None:
        assert first.stat().st_mtime_ns == written
    finished = tune(_config(stripes, space, output, resume=True))
    assert finished.already_finished
    assert finished.trials == again.trials
    with pytest.raises(RunExistsError, match="seed was 8, is 9; drawn_settings was"):
        tune(_config(stripes, space, output, resume=True, seed=9))


def _search_until(stripes: Path, space: Path, output: Path, file: str) -> None:
    """Search on a separate Ray; kill the driver with its Ray once a file of the run is there."""
    settings = ["--trials", "3", "--model", "digits", "--epochs", "2", "--seed", str(SEED)]
    program = "from cnnjobs.cli import main; main()"
    words = ["tune", str(stripes), "--space", str(space), "-o", str(output), *settings]
    driver = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "RAY_ADDRESS": "local"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: driver.poll() is not None or (output / file).exists())
        assert driver.poll() is None
    finally:
        kill_all([driver.pid, *descendants(driver.pid)])
        driver.wait()
