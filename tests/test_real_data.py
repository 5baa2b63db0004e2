"""The whole way at small size on real chest X-rays, where they are at hand."""

import csv
import itertools
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from cnnjobs.config import EvaluateConfig, FetchConfig, IndexConfig, PredictConfig, TrainConfig
from cnnjobs.data.duplicates import MAX_DISTANCE
from cnnjobs.data.fetch import fetch
from cnnjobs.data.index import index
from cnnjobs.evaluation.evaluate import evaluate
from cnnjobs.imaging.perceptual_hash import HASH_BYTES, perceptual_hashes
from cnnjobs.inference.predict import predict
from cnnjobs.training.train import train
from tests.support.copies import COPIES

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
            groups=(str(xrays / "groups.csv"),),
        )
    )

    rows = pq.read_table(summary.manifest)
    splits = rows.group_by("group").aggregate([("split", "count_distinct")])
    assert pc.max(splits["split_count_distinct"]).as_py() == 1
    assert summary.num_images == len(list(xrays.glob("*/*.png")))
    assert summary.unreadable == {}
    assert summary.num_near_copies == 0


def test_changed_copies_of_real_images_are_found_and_no_two_images_are_copies(xrays: Path) -> None:
    paths = sorted(xrays.glob("*/*.png"))
    with (xrays / "groups.csv").open() as file:
        patient_of = {row["path"]: row["group"] for row in csv.DictReader(file)}
    patients = [patient_of[path.relative_to(xrays).as_posix()] for path in paths]
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    originals = [_bits(image) for image in images]
    same: list[int] = []
    different: list[int] = []
    for one, other in itertools.combinations(range(len(images)), 2):
        distances = same if patients[one] == patients[other] else different
        distances.append(_distance(originals[one], originals[other]))
    lines = [
        f"images of two patients: at least {min(different)}, of one patient: {min(same)}",
        f"{'':26}  {'whole images':>12}  {'as compared':>12}",
        f"{'copy':26}  {'median':>7} {'max':>4}  {'median':>7} {'max':>4}  found",
    ]
    found = {}
    for change, make in COPIES.items():
        pairs = list(zip(originals, [_bits(make(image)) for image in images], strict=True))
        whole = [int((one[0] != other[0]).sum()) for one, other in pairs]
        compared = [_distance(one, other) for one, other in pairs]
        found[change] = sum(distance <= MAX_DISTANCE for distance in compared) / len(pairs)
        lines.append(
            f"{change:26}  {np.median(whole):7.0f} {max(whole):4}  {np.median(compared):7.0f} "
            f"{max(compared):4}  {found[change]:5.1%}"
        )
    # with -s: the table in docs/files.md
    print("", *lines, sep="\n")  # noqa: T201
    assert min(different) > 2 * MAX_DISTANCE
    assert min(same) > MAX_DISTANCE
    assert min(found.values()) == 1


def _bits(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bits of the hash of the whole image and of each crop, (1 + crops, 256)."""
    hashes = perceptual_hashes(image)
    assert hashes is not None
    return np.unpackbits(np.frombuffer(hashes, np.uint8).reshape(-1, HASH_BYTES), axis=1)


def _distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """The smallest of the distances that make two images copies."""
    bits = np.concatenate([(one[0] != other).sum(axis=1), (one != other[0]).sum(axis=1)])
    return int(min(bits.min(), 256 - bits.max()))


@pytest.mark.slow
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


@pytest.mark.slow
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
