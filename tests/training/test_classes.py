"""More than two classes from end to end, with the model for digits."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from cnnjobs import schema
from cnnjobs.config import EvaluateConfig, IndexConfig, PredictConfig, TrainConfig
from cnnjobs.data.index import index
from cnnjobs.errors import InputError
from cnnjobs.evaluation.evaluate import evaluate, plan
from cnnjobs.inference.predict import predict
from cnnjobs.models import bundle
from cnnjobs.models.bundle import Bundle
from tests.support.trainings import train_here

pytestmark = pytest.mark.usefixtures("all_alone")

LABELS = ["bright", "dark", "stripes"]


@pytest.fixture(scope="module")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of 28 x 28 in three classes that a network learns at once."""
    folder = tmp_path_factory.mktemp("patterns")
    random = np.random.default_rng(0)
    for label in LABELS:
        (folder / label).mkdir()
        for number in range(20):
            image = random.integers(0, 40, (28, 28), dtype=np.uint8)
            if label == "bright":
                image += 200
            if label == "stripes":
                image[:, ::4] += 200
            cv2.imwrite(str(folder / label / f"{number}.png"), image)
    return folder


@pytest.fixture(scope="module")
def manifest(patterns: Path) -> str:
    output = str(patterns.with_name("manifest.parquet"))
    return index(IndexConfig(sources=(str(patterns),), output=output)).manifest


@pytest.fixture(scope="module")
def fitted(manifest: str, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = str(tmp_path_factory.mktemp("runs") / "patterns")
    train_here(TrainConfig(data=manifest, output=output, model="digits", epochs=6, batch_size=8))
    return bundle.read(output)


def test_three_classes_have_no_positive_class(fitted: Bundle) -> None:
    assert list(fitted.labels) == LABELS
    assert fitted.positive is None


def test_evaluation_counts_every_class(fitted: Bundle, manifest: str, tmp_path: Path) -> None:
    summary = evaluate(
        EvaluateConfig(bundle=fitted.uri, data=manifest, output=str(tmp_path / "run"))
    )

    assert summary.num_images == 9
    assert summary.metrics["accuracy"] == 1
    assert summary.metrics["auroc"] == 1
    assert set(summary.confusion) == set(LABELS)
    assert [summary.metrics[f"f1_{label}"] for label in LABELS] == [1, 1, 1]
    # no image is predicted wrong, hence no wrong.png
    assert summary.plots == ["confusion.png", "reliability.png", "samples.png"]
    assert {path.name for path in (tmp_path / "run" / "plots").iterdir()} == set(summary.plots)


def test_a_prevalence_for_three_classes_is_refused(fitted: Bundle, manifest: str) -> None:
    with pytest.raises(InputError) as refused:
        plan(EvaluateConfig(bundle=fitted.uri, data=manifest, prevalence=0.1))
    message = "prevalence needs two classes, the bundle has 3; omit --prevalence."
    assert str(refused.value) == message


def test_predictions_have_a_probability_for_every_class(
    fitted: Bundle, patterns: Path, tmp_path: Path
) -> None:
    summary = predict(
        PredictConfig(bundle=fitted.uri, data=str(patterns), output=str(tmp_path / "run"))
    )

    table = pq.read_table(Path(summary.output, "predictions"))
    assert table.schema.equals(schema.predictions(3))
    for row in table.to_pylist():
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == LABELS[int(np.argmax(row["probabilities"]))]
        assert row["prediction"] == row["label"]
