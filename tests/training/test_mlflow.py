"""The extra `mlflow`, with a real store in a folder."""

import sys
from pathlib import Path

import pytest

from cnnjobs.config import TrainConfig
from cnnjobs.errors import ConfigError, StorageError
from cnnjobs.training import mlflow
from cnnjobs.training.train import train

HISTORY = [{"epoch": 1.0, "loss": 0.5, "val_loss": 0.75}, {"epoch": 2.0, "loss": 0.25}]


def test_a_run_has_settings_metrics_of_every_epoch_tags_and_files(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    store = str(tmp_path / "store")
    mlflow.check(store)
    run_id = mlflow.log(
        store,
        name="first",
        settings={"epochs": 2, "clip_norm": None},
        history=HISTORY,
        tags={"manifest": "abc"},
        files={"bundle.json": b'{"labels": []}'},
    )

    client = MlflowClient(tracking_uri=store)
    run = client.get_run(run_id)
    experiment = client.get_experiment_by_name("cnnjobs")
    assert run.info.experiment_id == experiment.experiment_id
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {"epochs": "2", "clip_norm": "None"}
    assert run.data.metrics == {"loss": 0.25, "val_loss": 0.75}
    assert run.data.tags["manifest"] == "abc"
    losses = client.get_metric_history(run_id, "loss")
    assert [(point.step, point.value) for point in losses] == [(1, 0.5), (2, 0.25)]
    saved = client.download_artifacts(run_id, "bundle.json")
    assert Path(saved).read_bytes() == b'{"labels": []}'


def test_two_runs_belong_to_one_experiment(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    store = str(tmp_path / "store")
    for name in ("first", "second"):
        mlflow.check(store)
        mlflow.log(store, name=name, settings={}, history=HISTORY, tags={}, files={})

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("cnnjobs")
    found = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in found} == {"first", "second"}


def test_a_store_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    with pytest.raises(StorageError) as refused:
        mlflow.check(str(file))

    assert str(refused.value).startswith(f"MLflow's store {file} cannot be used: ")
    assert "\n" not in str(refused.value)


def test_a_database_without_the_full_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Python treats None as not installed
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ConfigError) as refused:
        mlflow.check("sqlite:///runs.db")

    assert str(refused.value) == (
        "mlflow needs its full package to write to sqlite:///runs.db; install it: "
        "pip install mlflow."
    )


def test_without_the_package_training_does_not_start_and_says_what_to_install(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    config = TrainConfig(data=str(archive), output=str(tmp_path / "run"), mlflow="runs")

    with pytest.raises(ConfigError) as refused:
        train(config)

    assert str(refused.value) == (
        "mlflow needs the package mlflow-skinny; install it: pip install 'cnnjobs[mlflow]'."
    )
    assert not (tmp_path / "run").exists()
