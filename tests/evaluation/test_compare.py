"""Comparing runs in directories as `evaluate` and `predict` leave them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from cnnjobs import schema
from cnnjobs.cli.compare import compare_text
from cnnjobs.config import CompareConfig
from cnnjobs.data import manifest
from cnnjobs.data.manifest import Manifest
from cnnjobs.errors import InputError
from cnnjobs.evaluation.compare import compare, plan
from cnnjobs.storage import filesystem, run_dir
from tests.support.bundles import write_bundle

RANDOM = np.random.default_rng(1)
LABELS = ["opacity" if positive else "normal" for positive in RANDOM.random(60) < 0.5]
IS_POSITIVE = np.array(LABELS) == "opacity"
GOOD = np.clip(RANDOM.normal(0.3 + 0.4 * IS_POSITIVE, 0.15), 0, 1).astype(np.float32)
POOR = np.clip(RANDOM.normal(0.45 + 0.1 * IS_POSITIVE, 0.25), 0, 1).astype(np.float32)


def test_every_statistic_finds_the_better_model(tmp_path: Path) -> None:
    good, poor = _run(tmp_path / "good", GOOD), _run(tmp_path / "poor", POOR)
    summary = compare(CompareConfig(runs=(good, poor), resamples=200))

    [comparison] = summary.comparisons
    assert comparison.delong is not None
    gap = roc_auc_score(IS_POSITIVE, POOR) - roc_auc_score(IS_POSITIVE, GOOD)
    assert comparison.delong.difference == pytest.approx(gap)
    assert comparison.differences["auroc"].value == pytest.approx(gap)
    assert comparison.differences["auroc"].interval is not None
    assert comparison.differences["auroc"].interval[1] < 0
    assert comparison.delong.p < 0.01
    right = [(scores >= 0.5) == IS_POSITIVE for scores in (POOR, GOOD)]
    assert comparison.mcnemar.only_one == np.sum(right[0] & ~right[1])
    assert comparison.mcnemar.only_other == np.sum(right[1] & ~right[0])
    assert (summary.num_images, summary.num_groups, summary.num_left_out) == (60, 60, 0)


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    one, same = _run(tmp_path / "one", GOOD), _run(tmp_path / "same", GOOD)
    [comparison] = compare(CompareConfig(runs=(one, same), resamples=100)).comparisons

    assert comparison.delong is not None
    assert comparison.delong.p == comparison.mcnemar.p == 1
    assert {each.value for each in comparison.differences.values()} == {0}
    assert {each.interval for each in comparison.differences.values()} == {(0, 0)}


def test_groups_of_a_runs_manifest_are_resampled(tmp_path: Path) -> None:
    groups = [f"patient {number // 3}" for number in range(60)]
    good = _run(tmp_path / "good", GOOD)
    poor = _run(tmp_path / "poor", POOR, groups=groups)

    assert compare(CompareConfig(runs=(good, poor), resamples=100)).num_groups == 20


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    good, poor = _run(tmp_path / "good", GOOD), _run(tmp_path / "poor", POOR)
    reversed_run = _run(tmp_path / "reversed", POOR, order=list(range(59, -1, -1)))
    first, second = (
        compare(CompareConfig(runs=(good, run), resamples=100)) for run in (poor, reversed_run)
    )
    assert first.comparisons[0].delong == second.comparisons[0].delong
    assert first.comparisons[0].differences == second.comparisons[0].differences


def test_a_run_of_predict_takes_its_class_from_the_bundle(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", "covid-gap").uri
    good = _run(tmp_path / "good", GOOD)
    poor = _run(tmp_path / "poor", POOR, command="predict", bundle=bundle)

    summary = compare(CompareConfig(runs=(good, poor), resamples=0))

    assert summary.positive == "opacity"
    assert summary.models[1].metrics["auroc"] == pytest.approx(roc_auc_score(IS_POSITIVE, POOR))


def test_images_missing_from_a_run_are_refused_or_left_out(tmp_path: Path) -> None:
    every, some = _run(tmp_path / "every", GOOD), _run(tmp_path / "some", POOR, order=range(40))

    with pytest.raises(InputError) as refused:
        compare(CompareConfig(runs=(every, some)))
    assert str(refused.value) == (
        f"the runs have different images: 40 of the 60 in {every} are in every run; "
        "--shared compares those."
    )
    summary = compare(CompareConfig(runs=(every, some), shared=True, resamples=0))
    assert (summary.num_images, summary.num_left_out) == (40, 20)
    assert summary.models[0].metrics["auroc"] == pytest.approx(
        roc_auc_score(IS_POSITIVE[:40], GOOD[:40])
    )


def test_runs_without_a_common_image_are_refused_even_with_shared(tmp_path: Path) -> None:
    one, other = (
        _run(tmp_path / "one", GOOD, order=range(20)),
        _run(tmp_path / "other", POOR, order=range(20, 60)),
    )
    with pytest.raises(
        InputError, match=r": 0 of the 20 in \S+one are in every run; score the same images\.$"
    ):
        compare(CompareConfig(runs=(one, other), shared=True))


def test_an_image_with_two_labels_is_refused(tmp_path: Path) -> None:
    flipped = ["normal" if label == "opacity" else "opacity" for label in LABELS[:1]] + LABELS[1:]
    one, other = _run(tmp_path / "one", GOOD), _run(tmp_path / "other", GOOD, labels=flipped)
    with pytest.raises(InputError, match=r"^00\.png is \w+ in \S+one and \w+ in \S+other; compare"):
        compare(CompareConfig(runs=(one, other)))


def test_rows_without_labels_are_refused(tmp_path: Path) -> None:
    one = _run(tmp_path / "one", GOOD)
    other = _run(tmp_path / "other", GOOD, labels=[None] * 60)
    with pytest.raises(InputError, match=r"other has no image with a label and a score; compare"):
        compare(CompareConfig(runs=(one, other)))


def test_models_of_different_classes_are_refused(tmp_path: Path) -> None:
    one = _run(tmp_path / "one", GOOD)
    other = _run(tmp_path / "other", GOOD, positive="normal")
    with pytest.raises(InputError) as refused:
        plan(CompareConfig(runs=(one, other)))
    assert str(refused.value) == (
        f"compare takes models of the same classes: {one} has normal, opacity (positive opacity), "
        f"{other} has normal, opacity (positive normal)."
    )
    many = _run(tmp_path / "many", GOOD, positive=None)
    with pytest.raises(
        InputError, match=r"^compare takes models of two classes, the model of \S+many has"
    ):
        plan(CompareConfig(runs=(one, many)))


def test_only_finished_runs_of_evaluate_and_predict_are_accepted(tmp_path: Path) -> None:
    one, stopped = _run(tmp_path / "one", GOOD), _run(tmp_path / "stopped", GOOD)
    (tmp_path / "stopped" / "_SUCCESS").unlink()
    with pytest.raises(InputError, match=r"stopped is not finished; finish it, then compare\.$"):
        plan(CompareConfig(runs=(one, stopped)))
    with pytest.raises(InputError, match=r"nothing is not a run of evaluate or predict; give"):
        plan(CompareConfig(runs=(one, str(tmp_path / "nothing"))))


def test_one_class_alone_has_no_auroc_and_no_delong(tmp_path: Path) -> None:
    positives = [number for number in range(60) if IS_POSITIVE[number]]
    one, other = (
        _run(tmp_path / name, scores, order=positives)
        for name, scores in (("a", GOOD), ("b", POOR))
    )
    summary = compare(CompareConfig(runs=(one, other), resamples=0))
    assert summary.comparisons[0].delong is None
    assert "auroc" not in summary.comparisons[0].differences
    assert summary.undefined == "all images are opacity: no AUROC, AUPRC or MCC"


def test_the_result_is_written_and_printed(tmp_path: Path) -> None:
    good, poor = _run(tmp_path / "good", GOOD), _run(tmp_path / "poor", POOR)
    file = str(tmp_path / "compared.json")
    summary = compare(CompareConfig(runs=(good, poor), resamples=100, output=file))

    written = json.loads(Path(file).read_text())
    assert summary.comparisons[0].delong is not None
    assert written["comparisons"][0]["delong"]["p"] == summary.comparisons[0].delong.p
    lines = compare_text(summary).splitlines()
    assert lines[1] == f"[1] covid-good in {good}"
    assert any(line.split() == ["metric", "[1]", "[2]"] for line in lines)
    assert any(line.startswith("AUROC by DeLong: -0.") for line in lines)
    assert any(line.startswith("images only [2] gets right: ") for line in lines)


def _run(
    folder: Path,
    scores: Any,
    *,
    labels: Any = LABELS,
    positive: str | None = "opacity",
    groups: list[str] | None = None,
    order: Any = range(60),
    command: str = "evaluate",
    bundle: str | None = None,
) -> str:
    """A finished run over images 00.png to 59.png, or those of `order`."""
    run = run_dir.start(str(folder), command, {"bundle": bundle, "bundles": []})
    rows = [
        {
            "path": f"{number:02}.png",
            "label": labels[number],
            "prediction": "opacity" if scores[number] >= 0.5 else "normal",
            "probability": float(scores[number]),
            "model": f"covid-{folder.name}",
            "run_id": run.run_id,
        }
        for number in order
    ]
    table = pa.Table.from_pylist(rows, schema=schema.predictions(2))
    filesystem.write_table(run.path("predictions", "part-00000.parquet"), table)
    if groups is not None:
        images = [
            {"path": row["path"], "source": "s", "size_bytes": 1, "group": group}
            for row, group in zip(rows, groups, strict=True)
        ]
        listed = pa.Table.from_pylist(images, schema=schema.MANIFEST)
        manifest.write(Manifest(listed, {}), run.path("manifest.parquet"))
    summary = {"positive": positive, "threshold": 0.5, "confusion": {"normal": {}, "opacity": {}}}
    run.finish(files=["part-00000.parquet"], summary=summary if command == "evaluate" else {})
    return run.uri


def test_a_difference_without_variance_has_no_p_and_says_why(tmp_path: Path) -> None:
    perfect, constant = (
        _run(tmp_path / name, scores)
        for name, scores in (("a", IS_POSITIVE.astype(float)), ("b", np.full(len(GOOD), 0.4)))
    )
    file = tmp_path / "compared.json"
    summary = compare(CompareConfig(runs=(constant, perfect), resamples=0, output=str(file)))
    delong = json.loads(file.read_text())["comparisons"][0]["delong"]
    assert (delong["difference"], delong["p"], delong["interval"]) == (0.5, None, None)
    assert delong["undefined"].startswith("every image contributes the same difference")
    assert "AUROC by DeLong: 0.5000 (-), p -; every image contributes" in compare_text(summary)
