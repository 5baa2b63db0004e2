"""Evaluating a bundle."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from cnnjobs.cli.evaluate import evaluate_text
from cnnjobs.config import EvaluateConfig, IndexConfig
from cnnjobs.data import manifest as manifests
from cnnjobs.data import synthetic
from cnnjobs.data.index import index
from cnnjobs.errors import InputError, SourceError
from cnnjobs.evaluation.evaluate import evaluate, plan
from cnnjobs.evaluation.evaluate_summary import EvaluateSummary
from cnnjobs.models import bundle as bundles
from cnnjobs.models import external_tests

pytestmark = pytest.mark.usefixtures("all_alone")


@pytest.fixture(scope="module")
def evaluated(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluateSummary:
    output = tmp_path_factory.mktemp("evaluated") / "run"
    return evaluate(
        EvaluateConfig(
            bundle=str(untrained), data=str(untrained / "manifest.parquet"), output=str(output)
        )
    )


def test_the_metrics_are_those_of_the_predictions_it_leaves(evaluated: EvaluateSummary) -> None:
    assert evaluated.output is not None
    rows = pq.read_table(Path(evaluated.output, "predictions")).to_pylist()
    actual = [row["label"] == "opacity" for row in rows]
    predicted = [row["probability"] >= 0.5 for row in rows]
    right = [one == other for one, other in zip(actual, predicted, strict=True)]

    assert evaluated.num_images == len(rows) == 6
    assert evaluated.metrics["auroc"] == pytest.approx(
        roc_auc_score(actual, [row["probability"] for row in rows])
    )
    assert evaluated.metrics["accuracy"] == pytest.approx(sum(right) / len(rows))
    assert sum(sum(row.values()) for row in evaluated.confusion.values()) == len(rows)


def test_only_the_test_split_is_scored(evaluated: EvaluateSummary, untrained: Path) -> None:
    assert evaluated.output is not None
    manifest = pq.read_table(untrained / "manifest.parquet").to_pylist()
    tested = {row["path"] for row in manifest if row["split"] == "test"}

    scored = pq.read_table(Path(evaluated.output, "predictions"))["path"].to_pylist()

    assert set(scored) == tested
    assert evaluated.warning is None


def test_the_run_is_recorded(evaluated: EvaluateSummary) -> None:
    assert evaluated.output is not None
    record = json.loads(Path(evaluated.output, "run.json").read_text())

    assert record["summary"]["metrics"] == evaluated.metrics
    assert record["model"] == evaluated.model
    assert record["seeds"].keys() == {"bootstrap", "sample images", "split", "audit"}
    assert Path(evaluated.output, "_SUCCESS").exists()


def test_the_plots_are_those_listed_in_the_record(evaluated: EvaluateSummary) -> None:
    assert evaluated.output is not None
    drawn = {path.name for path in Path(evaluated.output, "plots").iterdir()}

    assert drawn == set(evaluated.plots)
    assert drawn == {
        "confusion.png",
        "probabilities.png",
        "roc.png",
        "precision_recall.png",
        "reliability.png",
        "decision_curve.png",
    }


def test_the_most_wrong_image_is_the_one_furthest_from_its_label(
    evaluated: EvaluateSummary,
) -> None:
    assert evaluated.output is not None
    rows = pq.read_table(Path(evaluated.output, "predictions")).to_pylist()
    wrong = [row for row in rows if row["prediction"] != row["label"]]
    confidences = [
        row["probability"] if row["prediction"] == "opacity" else 1 - row["probability"]
        for row in wrong
    ]

    assert evaluated.most_wrong
    assert len(evaluated.most_wrong) == min(5, len(wrong))
    assert evaluated.most_wrong[0].probability == pytest.approx(max(confidences))
    assert evaluated.most_wrong[0].path in {row["path"] for row in wrong}


def test_the_run_keeps_the_rows_of_the_manifest_that_were_tested(
    evaluated: EvaluateSummary,
) -> None:
    assert evaluated.output is not None
    tested = manifests.read(str(Path(evaluated.output, "manifest.parquet"))).table
    scored = pq.read_table(Path(evaluated.output, "predictions"))

    assert tested["path"].to_pylist() == scored["path"].to_pylist()
    assert tested["group"].null_count == 0


def test_the_audit_comes_last_and_the_bundle_stores_both(evaluated: EvaluateSummary) -> None:
    assert evaluated.audit is not None
    assert evaluated.audit.verdict == "undecided"
    assert evaluate_text(evaluated).endswith(
        "\naudit: undecided: no intervals for 6 images: at least 10 are needed."
    )
    carried = {
        name: json.loads(Path(evaluated.bundle, f"{name}.json").read_text())
        for name in ("evaluation", "audit")
    }
    assert set(carried["evaluation"]["metrics"]) == set(evaluated.metrics)
    assert carried["audit"]["verdict"] == "undecided"


def test_fewer_than_ten_images_have_metrics_and_no_intervals(evaluated: EvaluateSummary) -> None:
    assert evaluated.metrics["mcc"] is not None
    assert evaluated.intervals == {}
    assert evaluated.no_intervals == "no intervals for 6 images: at least 10 are needed"


def test_groups_of_the_manifest_are_resampled(untrained: Path, tmp_path: Path) -> None:
    synthetic.write_archive(tmp_path / "new", num_images=24, num_broken=1, seed=54)
    manifest = str(tmp_path / "grouped.parquet")
    # phantom-00012.png: ten numbers per patient
    index(
        IndexConfig(
            sources=(str(tmp_path / "new"),),
            output=manifest,
            group_regex=r"(\d{4})\d",
            split=False,
        )
    )
    config = EvaluateConfig(
        bundle=str(untrained), data=manifest, split="all", prevalence=0.02, audit=False
    )
    few = evaluate(config)
    # the broken file is counted, not scored
    assert (few.num_images, few.num_failed, few.num_groups) == (24, 1, 3)
    assert few.no_intervals == "no intervals for 3 groups: at least 10 are needed"

    alone = evaluate(
        dataclasses.replace(config, data=_manifest_of(tmp_path / "new"), resamples=100)
    )
    assert (alone.num_images, alone.num_groups, alone.no_intervals) == (24, 24, None)
    assert set(alone.intervals) == set(alone.metrics) >= {"ppv_at_prevalence", "ece", "brier"}
    assert alone.metrics == few.metrics


def test_a_test_on_training_images_is_refused(untrained: Path, archive: Path) -> None:
    # with another seed, these test images were in the training split
    other = str(untrained.parent / "other.parquet")
    index(IndexConfig(sources=(str(archive),), output=other, seed=77, overwrite=True))

    with pytest.raises(
        InputError, match=r"^\d+ of these 6 images were used to train the model, for"
    ):
        plan(EvaluateConfig(bundle=str(untrained), data=other))


def test_copies_of_training_images_under_other_names_are_refused(
    untrained: Path, archive: Path, tmp_path: Path
) -> None:
    for path in archive.glob("*/*"):
        (tmp_path / "new" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "new" / path.parent.name / f"renamed-{path.name}")

    with pytest.raises(InputError, match="images were used to train the model"):
        plan(EvaluateConfig(bundle=str(untrained), data=str(tmp_path / "new"), split="all"))


def test_the_training_split_is_evaluated_with_a_warning(untrained: Path) -> None:
    planned = plan(
        EvaluateConfig(
            bundle=str(untrained), data=str(untrained / "manifest.parquet"), split="train"
        )
    )

    assert planned.test.warning == (
        "split train was used in training; its metrics say nothing about new images."
    )


def test_images_of_one_class_have_all_metrics_but_auroc(untrained: Path, tmp_path: Path) -> None:
    synthetic.write_archive(tmp_path / "new", num_images=8, num_broken=0, seed=50)
    shutil.rmtree(tmp_path / "new" / "normal")

    summary = evaluate(
        EvaluateConfig(
            bundle=str(untrained),
            data=_manifest_of(tmp_path / "new"),
            split="all",
            output=str(tmp_path / "run"),
        )
    )

    assert summary.num_images == 4
    # one class alone has no curves
    assert summary.plots == ["confusion.png", "probabilities.png"]
    assert summary.metrics["auroc"] is None
    assert summary.metrics["specificity"] is None
    assert summary.metrics["sensitivity"] is not None
    assert summary.undefined == "all images are opacity: no AUROC, AUPRC or MCC"


def test_a_run_whose_images_are_gone_is_recorded_as_failed(untrained: Path, tmp_path: Path) -> None:
    synthetic.write_archive(tmp_path / "new", num_images=8, num_broken=0, seed=53)
    manifest = _manifest_of(tmp_path / "new")
    shutil.rmtree(tmp_path / "new")
    output = tmp_path / "run"

    with pytest.raises(
        SourceError,
        match=r"^none of 8 images could be read; the last: .*; restore access to the images, then ",
    ):
        evaluate(
            EvaluateConfig(bundle=str(untrained), data=manifest, split="all", output=str(output))
        )

    record = json.loads((output / "run.json").read_text())
    assert (record["command"], record["status"]) == ("evaluate", "failed")
    assert not (output / "_SUCCESS").exists()


def test_a_set_without_a_readable_image_fails_with_the_first_reason(
    untrained: Path, tmp_path: Path
) -> None:
    for label in ("normal", "opacity"):
        (tmp_path / "bad" / label).mkdir(parents=True)
        (tmp_path / "bad" / label / "1.png").write_bytes(b"no picture")
    data, output = str(tmp_path / "bad"), tmp_path / "run"

    with pytest.raises(InputError) as refused:
        evaluate(EvaluateConfig(bundle=str(untrained), data=data, split="all", output=str(output)))

    assert re.fullmatch(
        r"none of the 2 images in split all could be read; the first: \S+/bad/normal/1.png "
        r"\(not an image: .+\)\.",
        str(refused.value),
    )
    record = json.loads((output / "run.json").read_text())
    assert (record["command"], record["status"]) == ("evaluate", "failed")
    assert not (output / "_SUCCESS").exists()


def test_labels_that_the_bundle_does_not_know_are_refused(untrained: Path, tmp_path: Path) -> None:
    synthetic.write_archive(tmp_path / "new", num_images=8, num_broken=0, seed=52)
    (tmp_path / "new" / "normal").rename(tmp_path / "new" / "clear")

    data = _manifest_of(tmp_path / "new")

    with pytest.raises(InputError) as refused:
        plan(EvaluateConfig(bundle=str(untrained), data=data, split="all"))

    assert str(refused.value) == (
        f"{data} has labels that the bundle does not know: clear; evaluate on images labelled "
        "normal, opacity."
    )


def test_images_without_labels_are_refused(untrained: Path, archive: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(archive.glob("normal/*"))[:3]:
        shutil.copy(path, flat)

    with pytest.raises(InputError, match=r"has no labels in split all; put the images in one"):
        plan(EvaluateConfig(bundle=str(untrained), data=str(flat), split="all"))


def test_another_set_is_evaluated_with_the_drop_in_each_metric(
    untrained: Path, tmp_path: Path
) -> None:
    synthetic.write_archive(tmp_path / "new", num_images=16, num_broken=1, seed=57)
    data, others = str(untrained / "manifest.parquet"), str(tmp_path / "new")
    config = EvaluateConfig(bundle=str(untrained), data=data, resamples=100, audit=False)

    broken_down: dict[str, Any] = {"by": ("source",), "at": ("sensitivity=0.9",)}
    alone = evaluate(dataclasses.replace(config, data=others, split="all", **broken_down))
    both = evaluate(dataclasses.replace(config, beside=(others,), output=str(tmp_path / "run")))

    [beside] = both.beside
    assert (beside.data, beside.num_images, beside.num_failed) == (others, 16, 1)
    assert beside.metrics == alone.metrics
    assert beside.drops["brier"].value == pytest.approx(
        both.metrics["brier"] - alone.metrics["brier"]  # type: ignore[operator]
    )
    # the bundle keeps the result
    [external] = external_tests.read(bundles.read(str(untrained)))
    assert (external["set"], external["num_images"]) == ("new", 16)
    assert external["auroc"] == pytest.approx(beside.metrics["auroc"])
    assert tuple(external["interval"]) == pytest.approx(beside.intervals["auroc"])
    # the only subgroup is the whole set
    [subgroup] = alone.subgroups[0].subgroups
    assert subgroup.intervals["auroc"] == alone.intervals["auroc"]
    assert alone.operating_points[0].sensitivity >= 0.9
    # the 6 test images have no intervals
    assert {drop.interval for drop in beside.drops.values()} == {None}
    assert beside.predictions is not None
    assert pq.read_table(tmp_path / "run" / beside.predictions).num_rows == 17
    # the predictions of the test set are kept separate
    assert pq.read_table(tmp_path / "run" / "predictions").num_rows == 6
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["summary"]["beside"][0]["drops"]["brier"]["value"] == pytest.approx(
        beside.drops["brier"].value
    )


def test_training_images_are_refused_in_another_set_too(untrained: Path, archive: Path) -> None:
    data = str(untrained / "manifest.parquet")

    with pytest.raises(
        InputError, match=r"^\d+ of these 45 images were used to train the model, for"
    ):
        plan(EvaluateConfig(bundle=str(untrained), data=data, beside=(str(archive),)))


def _manifest_of(folder: Path) -> str:
    manifest = str(folder.parent / "manifest.parquet")
    index(IndexConfig(sources=(str(folder),), output=manifest, split=False))
    return manifest
