"""The whole way at small size on real chest X-rays, where they are at hand."""

import os
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cnnjobs.config import EvaluateConfig, FetchConfig, IndexConfig, PredictConfig, TrainConfig
from cnnjobs.data.fetch import fetch
from cnnjobs.data.index import index
from cnnjobs.evaluation.evaluate import evaluate
from cnnjobs.inference.predict import predict
from cnnjobs.training.train import train

FOLDER = os.environ.get("CNNJOBS_REAL_DATA", "")

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="CNNJOBS_REAL_DATA names no folder with chest-xray/covid and normal"
)


@pytest.fixture(scope="module")
def xrays() -> Path:
    return Path(FOLDER).resolve() / "chest-xray"


def test_no_patient_is_in_two_splits_and_every_image_is_sound(xrays: Path, tmp_path: Path) -> None:
    summary = index(
        IndexConfig(
            sources=(str(xrays),),
            output=str(tmp_path / "manifest.parquet"),
            groups=str(xrays / "groups.csv"),
        )
    )

    rows = pq.read_table(summary.manifest)
    splits = rows.group_by("group").aggregate([("split", "count_distinct")])
    assert pc.max(splits["split_count_distinct"]).as_py() == 1
    assert summary.num_images == len(list(xrays.glob("*/*.png")))
    assert summary.unreadable == {}
    assert summary.num_near_copies == 0


def test_index_train_evaluate_and_predict_on_real_images(
    ray_session: None, xrays: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    for label in ("covid", "normal"):
        (small / label).mkdir(parents=True)
        for path in sorted((xrays / label).glob("*.png"))[:20]:
            shutil.copy(path, small / label)
    manifest = str(tmp_path / "manifest.parquet")
    index(IndexConfig(sources=(str(small),), output=manifest))

    trained = train(TrainConfig(data=manifest, output=str(tmp_path / "run"), epochs=2))
    evaluated = evaluate(EvaluateConfig(bundle=trained.bundle, data=manifest))
    predicted = predict(
        PredictConfig(bundle=trained.bundle, data=manifest, output=str(tmp_path / "scored"))
    )

    # sorted folders make covid the first class; the name decides, not the place
    assert trained.positive == evaluated.positive == "covid"
    assert [epoch["epoch"] for epoch in trained.history] == [1, 2]
    assert evaluated.metrics["auroc"] is not None
    assert evaluated.num_images == 6
    assert (predicted.scored, predicted.failed) == (40, {})


def test_the_digits_model_learns_real_digits(ray_session: None, tmp_path: Path) -> None:
    fetched = fetch(
        FetchConfig(
            dataset="mnist",
            source=str(Path(FOLDER).resolve() / "mnist"),
            output=str(tmp_path / "mnist"),
            limit=7000,
        )
    )

    trained = train(
        TrainConfig(data=fetched.manifest, output=str(tmp_path / "run"), model="digits", epochs=2)
    )
    evaluated = evaluate(EvaluateConfig(bundle=trained.bundle, data=fetched.manifest))

    # 10 epochs on all 60,000 reach 0.991
    assert evaluated.num_images == 1000
    accuracy = evaluated.metrics["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.93
