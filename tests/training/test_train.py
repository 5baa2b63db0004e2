"""Training: what a run holds, and what is refused."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnjobs.config import IndexConfig, TrainConfig
from cnnjobs.data import manifest
from cnnjobs.data.index import index
from cnnjobs.errors import InputError, RunExistsError, TrainingError
from cnnjobs.models import bundle
from cnnjobs.storage import run_dir
from cnnjobs.training.train import train
from cnnjobs.training.train_plan import plan
from tests.support.trainings import train_here


@pytest.fixture(scope="module")
def trained(all_alone: None, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a training on the archive, with its MLflow store and its notes beside it."""
    output = tmp_path_factory.mktemp("trained") / "run"
    store = str(output.with_name("store"))
    notes: list[str] = []
    train(
        TrainConfig(data=str(archive), output=str(output), model="digits", epochs=1, mlflow=store),
        lambda step, done, total, note="": notes.append(note),
    )
    output.with_name("notes").write_text("\n".join(notes))
    return output


def test_a_run_holds_a_bundle_its_manifest_the_history_and_the_curves(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    described = bundle.read(str(trained))
    images = manifest.read(str(trained / "manifest.parquet"))
    history = list(csv.DictReader((trained / "history.csv").open()))

    assert (trained / "_SUCCESS").exists()
    assert record["status"] == "done"
    assert record["command"] == "train"
    assert record["config"]["epochs"] == 1
    assert record["manifest"] == images.fingerprint == described.manifest_fingerprint
    assert record["model"] == described.name
    assert record["seeds"] == {
        "weights": 0, "order": 0, "dropout": 0, "augmentation": None, "split": 0
    }  # fmt: skip
    assert [row["epoch"] for row in history] == ["1"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "val_auroc"} <= set(history[0])
    assert (trained / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_every_epoch_is_reported_with_what_its_history_has(trained: Path) -> None:
    notes = trained.with_name("notes").read_text().splitlines()
    (epoch,) = csv.DictReader((trained / "history.csv").open())
    shown = ("loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc")

    assert [note for note in notes if note.startswith("epoch 1: ")] == [
        f"epoch 1: {', '.join(f'{name} {float(epoch[name]):.3f}' for name in shown)}, "
        f"learning rate 0.001, {float(epoch['images_per_second']):.1f} images/s"
    ]


def test_the_bundle_records_the_positive_class_and_the_images_it_was_trained_on(
    trained: Path,
) -> None:
    described = bundle.read(str(trained))
    images = manifest.read(str(trained / "manifest.parquet")).table
    seen = bundle.seen_images(described)

    assert described.labels == ["normal", "opacity"]
    assert described.positive == "opacity"
    assert set(seen["split"].to_pylist()) == {"train", "validation"}
    used = {row["path"] for row in images.to_pylist() if row["split"] in ("train", "validation")}
    assert set(seen["path"].to_pylist()) == used
    assert described.metrics["auroc"] is not None


def test_a_training_is_logged_with_its_fingerprints_bundle_and_curves(trained: Path) -> None:
    from mlflow import MlflowClient

    record = run_dir.read_record(str(trained))
    assert record is not None
    client = MlflowClient(tracking_uri=str(trained.with_name("store")))
    experiment = client.get_experiment_by_name("cnnjobs")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["epochs"] == "1"
    assert run.data.tags["model"] == record["model"]
    assert run.data.tags["output"] == str(trained)
    assert run.info.run_name == run.data.tags["run_id"]
    assert run.data.metrics["val_loss"] == pytest.approx(
        record["summary"]["history"][-1]["val_loss"]
    )
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "bundle.json",
        "history.csv",
        "learning_curves.png",
    }


def test_the_driver_does_not_import_tensorflow() -> None:
    # in each of Ray's processes, one after the other, that would take seconds
    code = (
        "import sys, cnnjobs.training.train; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_first_class_by_name_can_be_the_positive_one(archive: Path, tmp_path: Path) -> None:
    planned = plan(TrainConfig(data=str(archive), output=str(tmp_path / "run"), positive="normal"))

    assert planned.positive == "normal"
    assert planned.targets == {"normal": 1, "opacity": 0}


def test_two_classes_without_a_normal_one_need_a_positive_class(
    archive: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    (renamed / "flu").symlink_to(archive / "normal")
    (renamed / "covid").symlink_to(archive / "opacity")

    with pytest.raises(InputError) as refused:
        plan(TrainConfig(data=str(renamed), output=str(tmp_path / "run")))

    assert str(refused.value) == "which class is positive, covid or flu? Name it with --positive."


def test_an_unknown_positive_class_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        plan(TrainConfig(data=str(archive), output=str(tmp_path / "run"), positive="covid"))

    assert str(refused.value) == "positive must be one of the classes normal, opacity, got covid."


def test_a_single_class_cannot_be_trained_on(archive: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    (one / "normal").symlink_to(archive / "normal")

    with pytest.raises(InputError, match=r"needs at least two classes, .* has only one: normal;"):
        plan(TrainConfig(data=str(one), output=str(tmp_path / "run")))


def test_a_manifest_without_splits_cannot_be_trained_on(archive: Path, tmp_path: Path) -> None:
    unsplit = str(tmp_path / "unsplit.parquet")
    index(IndexConfig(sources=(str(archive),), output=unsplit, split=False))

    with pytest.raises(InputError) as refused:
        plan(TrainConfig(data=unsplit, output=str(tmp_path / "run")))

    assert str(refused.value) == (
        "class normal has no images in split train; index with splits, or add images."
    )


def test_a_run_is_not_overwritten_by_default(trained: Path, archive: Path) -> None:
    before = (trained / "run.json").read_bytes()

    with pytest.raises(RunExistsError) as refused:
        train(TrainConfig(data=str(archive), output=str(trained), epochs=1))

    assert str(refused.value) == (
        f"{trained} already contains a run; add --resume to continue it, --overwrite to replace "
        "it, or choose another directory."
    )
    assert (trained / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (True, r".* was readable when it was indexed, but no longer is \(missing: .*\); index"),
        (False, r"none of the \d+ training images could be decoded; index them again\.$"),
    ],
)
def test_a_training_set_without_a_decodable_image_fails_with_one_line(
    archive: Path, tmp_path: Path, content: bool, message: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(archive, copy)
    images = str(tmp_path / "manifest.parquet")
    index(IndexConfig(sources=(str(copy),), output=images, content=content))
    shutil.rmtree(copy)

    with pytest.raises(TrainingError, match=f"^{message}"):
        train_here(TrainConfig(data=images, output=str(tmp_path / "run"), model="digits"))
