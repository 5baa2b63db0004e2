"""Cross-validation on a real Ray: one run with two folds and one source left out."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from cnnjobs.cli.crossval import crossval_text
from cnnjobs.config import CrossvalConfig, EvaluateConfig, IndexConfig
from cnnjobs.data.index import index
from cnnjobs.errors import InputError, RunExistsError, TrainingError
from cnnjobs.evaluation.evaluate import evaluate
from cnnjobs.models import bundle
from cnnjobs.storage import filesystem
from cnnjobs.training.crossval import CrossvalSummary, crossval
from cnnjobs.training.crossval_plan import plan
from tests.support.prediction_tables import without_session


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A manifest of 24 images of two classes from `north`, and 4 of one class from `east`."""
    folder = tmp_path_factory.mktemp("stripes")
    random = np.random.default_rng(0)
    for source, label, number in (
        ("north", "normal", 12),
        ("north", "striped", 12),
        ("east", "striped", 4),
    ):
        directory = folder / source / label
        directory.mkdir(parents=True)
        for name in range(number):
            image = random.integers(0, 40, (28, 28), dtype=np.uint8)
            if label == "striped":
                image[:, ::4] += 200
            cv2.imwrite(str(directory / f"{name}.png"), image)
    (folder / "north" / "normal" / "cut.png").write_bytes(b"\x89PNG")
    sources = (str(folder / "north"), str(folder / "east"))
    return index(IndexConfig(sources=sources, output=str(folder / "m.parquet"))).manifest


def _config(data: str, output: Path, **more: object) -> CrossvalConfig:
    settings = {"folds": 2, "model": "digits", "epochs": 2, "leave_out": "source", **more}
    return CrossvalConfig(data=data, output=str(output), **settings)


@pytest.fixture(scope="module")
def crossed(
    ray_session: None, stripes: str, tmp_path_factory: pytest.TempPathFactory
) -> CrossvalSummary:
    return crossval(_config(stripes, tmp_path_factory.mktemp("runs") / "run"))


def test_every_row_is_predicted_once_by_a_fold_that_did_not_train_on_it(
    crossed: CrossvalSummary, stripes: str
) -> None:
    rows = pq.read_table(stripes).to_pylist()
    hashes = {row["path"]: row["content_hash"] for row in rows}
    tested = []
    for number, fold in enumerate(crossed.folds):
        part = pq.read_table(f"{crossed.output}/predictions/part-{number:05d}.parquet")
        assert set(zip(part["repeat"].to_pylist(), part["fold"].to_pylist(), strict=True)) == {
            (1, number + 1)
        }
        seen = bundle.seen_images(bundle.read(fold.bundle))["content_hash"].to_pylist()
        assert not set(seen) & {hashes[path] for path in part["path"].to_pylist()}
        assert None not in part["probability"].to_pylist()
        tested += part["path"].to_pylist()
    assert sorted(tested) == sorted(row["path"] for row in rows if row["error"] is None)


def test_a_source_left_out_is_tested_alone_and_undefined_metrics_are_explained(
    crossed: CrossvalSummary,
) -> None:
    [east] = crossed.sources
    part = pq.read_table(f"{crossed.output}/predictions/part-00002.parquet")

    assert (east.left_out, east.num_test, east.counts) == ("east", 4, {"striped": 4})
    assert part["left_out"].to_pylist() == ["east"] * 4
    assert all("/east/" in path for path in part["path"].to_pylist())
    assert east.metrics["auroc"] is None
    assert east.metrics["sensitivity"] is not None
    assert east.undefined == "all images are striped: no AUROC, AUPRC or MCC"
    assert crossed.not_left_out == {"north": "the other sources have no images of normal"}


def test_the_estimates_do_not_include_sources_left_out(crossed: CrossvalSummary) -> None:
    values = [fold.metrics["auroc"] for fold in crossed.folds]

    assert crossed.estimates["auroc"].num == 2
    assert crossed.estimates["auroc"].mean == pytest.approx(np.mean(values))
    assert crossed.left_over == {"unreadable": 1}
    assert crossed.num_images == 28


def test_the_run_directory_records_the_results(crossed: CrossvalSummary) -> None:
    record = json.loads(Path(crossed.output, "run.json").read_text())

    assert (record["status"], record["command"]) == ("done", "crossval")
    assert record["seeds"].keys() == {"repeat 1", "left out"}
    assert record["files"] == [f"part-{number:05d}.parquet" for number in range(3)]
    assert record["summary"]["estimates"]["auroc"]["mean"] == crossed.estimates["auroc"].mean
    assert cv2.imread(f"{crossed.output}/plots/crossval.png") is not None
    assert Path(crossed.output, "_SUCCESS").exists()


def test_the_text_lists_the_folds_their_means_and_the_sources(crossed: CrossvalSummary) -> None:
    text = crossval_text(crossed)

    assert "digits on 28 images in 28 groups, left over: 1 unreadable, 3 trainings in" in text
    assert "\nrepeat 1, fold 2 " in text
    assert "\nauroc " in text
    assert "\neast: all images are striped: no AUROC, AUPRC or MCC\n" in text
    assert "\neast: no intervals for 4 images: at least 10 are needed\n" in text
    assert "\nnot left out: north, the other sources have no images of normal\n" in text
    assert "\nfolds of all sources: auroc " in text


def test_a_fold_s_bundle_is_not_evaluated_on_its_training_images(
    crossed: CrossvalSummary, stripes: str
) -> None:
    # the test split of the manifest is not that of the fold
    with pytest.raises(InputError, match=r"of these \d+ images were used to train"):
        evaluate(EvaluateConfig(bundle=crossed.folds[0].bundle, data=stripes, split="all"))


@pytest.mark.slow
def test_resuming_trains_only_the_missing_fold_and_ends_with_the_same_results(
    crossed: CrossvalSummary, stripes: str
) -> None:
    last = f"{crossed.output}/predictions/part-00001.parquet"
    before = without_session(pq.read_table(last))
    kept = Path(crossed.folds[0].bundle, "bundle.json").stat().st_mtime_ns
    filesystem.delete(last)

    again = crossval(_config(stripes, Path(crossed.output), resume=True))

    assert again.estimates == crossed.estimates
    assert without_session(pq.read_table(last)).equals(before)
    assert Path(crossed.folds[0].bundle, "bundle.json").stat().st_mtime_ns == kept


def test_another_run_is_not_resumed(crossed: CrossvalSummary, stripes: str) -> None:
    with pytest.raises(RunExistsError) as refused:
        crossval(_config(stripes, Path(crossed.output), resume=True, seed=1))

    message = str(refused.value)
    assert message.startswith(f"{crossed.output} contains a different run (seed was 0, is 1; cut ")


def test_a_failed_fold_fails_the_job_in_one_line(
    ray_session: None, stripes: str, tmp_path: Path
) -> None:
    config = _config(stripes, tmp_path / "run", leave_out=None, learning_rate=1e39, parallel=1)

    with pytest.raises(TrainingError, match=r"^repeat 1, fold \d failed: the .* is (nan|inf)"):
        crossval(config)

    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


def test_a_plan_names_the_trainings_and_writes_nothing(stripes: str, tmp_path: Path) -> None:
    facts = plan(_config(stripes, tmp_path / "run")).facts

    assert list(facts["trainings"]) == ["repeat 1, fold 1", "repeat 1, fold 2", "without east"]
    assert facts["trainings"]["without east"]["test"] == 4
    assert facts["left over"] == {"unreadable": 1}
    assert not (tmp_path / "run").exists()


def test_images_without_labels_are_one_line(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), np.zeros((28, 28), np.uint8))

    with pytest.raises(InputError) as refused:
        plan(_config(str(images), tmp_path / "run"))

    assert str(refused.value) == (
        f"{images} has no readable images with a label; put the images of each class in a "
        "separate folder."
    )
