"""Runs and bundles of the commit 38bb914 (see `make.py`) open, resume and report.

Only the command line and the files on disk are used, which are promised; module names are not (of
ours, only the rounding of the page is).
Results of another machine agree to rounding, which a training amplifies.
"""

import csv
import io
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnjobs.cli import main
from cnnjobs.reporting.formatting import number
from tests.old_runs import make
from tests.support.prediction_tables import without_session

NUM_IMAGES = 105
#: What a few epochs make of the rounding of another machine, in probabilities and losses.
TRAINED = 2e-3


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` sets a hook for its own process, which is the tests' here."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def cnnjobs(*words: str) -> dict[str, Any]:
    """Run one command line here to its end; returns its result."""
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as ended:
        main([*words, "--json", "--quiet"])
    # 3: some of the images named to predict-one are broken
    assert ended.value.code in ((0, 3) if words[0] == "predict-one" else (0,)), out.getvalue()
    return json.loads(out.getvalue())


@pytest.mark.parametrize(
    ("run", "engine"),
    # a search exports nothing
    [("first", "openvino"), ("first", "keras"), ("second", "openvino"), ("searched", "keras")],
)
def test_a_bundle_gives_the_probabilities_that_it_gave(old: Path, run: str, engine: str) -> None:
    before = recorded(old / "one" / f"{run}.json")
    paths = [image["path"] for image in before["images"]]

    now = cnnjobs("predict-one", f"runs/{run}", *paths, "--engine", engine)

    unchanged = ("model", "labels", "positive", "threshold")
    assert [now[key] for key in unchanged] == [before[key] for key in unchanged]
    assert len(set(probabilities(before))) == len(paths) == 8
    # two engines round differently
    tolerance = 1e-6 if engine == before["engine"] else 1e-5
    assert probabilities(now) == pytest.approx(probabilities(before), abs=tolerance)


@pytest.mark.parametrize("run", ["first", "second"])
def test_an_evaluation_of_a_bundle_finds_what_was_found(
    ray_session: None, old: Path, run: str
) -> None:
    before = recorded(old / "evaluated" / run / "run.json")["summary"]

    now = cnnjobs("evaluate", f"runs/{run}", "manifest.parquet", "-o", "again", "--no-audit")

    assert now["metrics"]["auroc"] is not None
    for key in ("metrics", "counts", "threshold", "temperature"):
        assert flat(now[key]) == pytest.approx(flat(before[key]), abs=1e-6)
    # shares and the AUROC were resampled, too, which gave intervals without width at 0 and 1
    for name in ("mcc", "auprc", "brier", "ece"):
        low, high = before["intervals"][name]
        expected = None if low == high else pytest.approx((low, high), abs=1e-6)
        assert now["intervals"][name] == expected
    for name in ("sensitivity", "specificity", "auroc"):
        low, high = now["intervals"][name]
        assert low < now["metrics"][name] < high or (low < high and now["metrics"][name] in (0, 1))
    assert scored(old / "again").select(["path", "label", "prediction"]) == scored(
        old / "evaluated" / run
    ).select(["path", "label", "prediction"])


def test_a_report_holds_the_numbers_of_the_runs(old: Path) -> None:
    summary = cnnjobs("report", "runs/first", "evaluated/first", "scored", "-o", "page.html")

    page = (old / "page.html").read_text(encoding="utf-8")
    evaluated = recorded(old / "evaluated" / "first" / "run.json")["summary"]
    metrics = {name: value for name, value in evaluated["metrics"].items() if value is not None}
    assert {"auroc", "sensitivity", "brier"} <= set(metrics)
    assert [name for name, value in metrics.items() if number(value) not in page] == []
    assert summary["model"] == evaluated["model"]
    assert summary["model"] in page
    assert summary["verdict"] == evaluated["audit"]["verdict"]
    assert summary["num_images"] == NUM_IMAGES
    assert summary["num_shown"] == NUM_IMAGES
    assert summary["unread"] == 0
    assert summary["warnings"] == []


@pytest.mark.parametrize("run", ["crossed", "searched"])
def test_trainings_side_by_side_are_reported(old: Path, run: str) -> None:
    summary = cnnjobs("report", f"runs/{run}", "-o", "page.html")

    page = (old / "page.html").read_text(encoding="utf-8")
    before = recorded(old / "runs" / run / "run.json")["summary"]
    values = (
        [fold["metrics"]["auroc"] for fold in before["folds"]]
        if run == "crossed"
        else [trial["value"] for trial in before["trials"]]
    )
    assert len(values) >= 2
    assert all(number(value) in page for value in values)
    assert summary["warnings"] == []


def test_runs_that_were_stopped_are_reported_as_far_as_they_got(old: Path) -> None:
    summary = cnnjobs("report", "runs/first", "scored-stopped", "-o", "page.html")

    assert summary["num_images"] == num_rows(old / "scored-stopped")
    assert len(summary["warnings"]) == 1
    assert "scored-stopped" in summary["warnings"][0]


def test_a_stopped_predict_is_resumed_and_ends_as_the_one_that_was_not(
    ray_session: None, old: Path
) -> None:
    output = old / "scored-stopped"
    kept = num_rows(output)
    parts = {file: file.read_bytes() for file in output.glob("predictions/*.parquet")}
    assert 0 < kept < NUM_IMAGES

    summary = cnnjobs(*make.PREDICT, "-o", "scored-stopped", "--resume")

    assert (summary["indexed"], summary["skipped"]) == (NUM_IMAGES, kept)
    assert all(file.read_bytes() == before for file, before in parts.items())
    assert (output / "_SUCCESS").exists()
    assert_same_rows(scored(output), scored(old / "scored"))


def test_an_update_of_a_finished_predict_scores_what_is_new_alone(
    ray_session: None, old: Path
) -> None:
    before = scored(old / "scored")

    nothing = cnnjobs(*make.PREDICT, "-o", "scored", "--update")

    assert nothing["already_finished"]
    assert (nothing["scored"], nothing["failed"]) == (0, {})
    assert nothing["update"] == {"new": 0, "changed": 0, "again": 0, "relabelled": 0, "gone": 0}
    assert scored(old / "scored") == before

    first = before["path"][0].as_py()
    shutil.copy2(first, old / "images" / "normal" / "new.png")
    update = cnnjobs(*make.PREDICT, "-o", "scored", "--update")

    assert update["update"] == {"new": 1, "changed": 0, "again": 0, "relabelled": 0, "gone": 0}
    assert (update["scored"], update["skipped"]) == (1, NUM_IMAGES)
    after = scored(old / "scored")
    assert after.slice(0, NUM_IMAGES).select(before.column_names) == before
    assert after["scored_at"].null_count == NUM_IMAGES
    assert after["path"][NUM_IMAGES].as_py().endswith("/new.png")


@pytest.mark.slow
def test_a_killed_training_is_resumed_and_ends_as_the_one_that_was_not(
    ray_session: None, old: Path
) -> None:
    with np.load(old / "runs" / "killed" / "checkpoints" / "last.npz") as file:
        kept = json.loads(file["state"].tobytes())["history"]
    assert 2 <= len(kept) < make.EPOCHS

    summary = cnnjobs(*make.TRAIN, "-o", "runs/killed", "--resume")

    # with the seconds that each epoch took: they were not trained again
    assert summary["history"][: len(kept)] == kept
    before = recorded(old / "runs" / "first" / "run.json")["summary"]
    assert losses(summary) == pytest.approx(losses(before), abs=TRAINED)
    assert len(losses(summary)) == make.EPOCHS
    with (old / "runs" / "killed" / "history.csv").open() as file:
        norms = [row["gradient_norm"] for row in csv.DictReader(file)]
    # the version of then did not measure it
    assert [bool(norm) for norm in norms] == [epoch >= len(kept) for epoch in range(make.EPOCHS)]
    one = recorded(old / "one" / "first.json")
    paths = [image["path"] for image in one["images"]]
    now = cnnjobs("predict-one", "runs/killed", *paths)
    assert probabilities(now) == pytest.approx(probabilities(one), abs=TRAINED)


def test_a_finished_training_is_not_done_again(old: Path) -> None:
    summary = cnnjobs(*make.TRAIN, "-o", "runs/first", "--resume")

    before = recorded(old / "runs" / "first" / "run.json")["summary"]
    assert summary == {**before, "already_finished": True}


@pytest.mark.slow
def test_a_stopped_crossval_is_resumed_and_ends_as_the_one_that_was_not(
    ray_session: None, old: Path
) -> None:
    output, whole = old / "runs" / "crossed-stopped", old / "runs" / "crossed"
    parts = {file: file.read_bytes() for file in output.glob("predictions/*.parquet")}
    assert 1 <= len(parts) < 3

    summary = cnnjobs(*make.CROSSVAL, "-o", "runs/crossed-stopped", "--resume")

    assert all(file.read_bytes() == before for file, before in parts.items())
    before = recorded(whole / "run.json")["summary"]
    sizes = ("name", "num_train", "num_validation", "num_test", "counts")
    assert [[fold[key] for key in sizes] for fold in summary["folds"]] == [
        [fold[key] for key in sizes] for fold in before["folds"]
    ]
    assert_same_rows(scored(output), scored(whole), trained=True)
    assert (output / "_SUCCESS").exists()


def test_two_evaluations_compare_as_they_did(old: Path) -> None:
    before = recorded(old / "compare.json")

    now = cnnjobs("compare", "evaluated/first", "evaluated/second")

    assert before["comparisons"][0]["delong"] is not None
    found, expected = flat(now), flat(before)
    # the intervals of one model were resampled, too; later versions say more
    same = {name: value for name, value in expected.items() if "/intervals/" not in name}
    assert len(same) < len(expected)
    assert {name: found.get(name) for name in same} == pytest.approx(same, abs=1e-9)


def recorded(file: Path) -> dict[str, Any]:
    return json.loads(file.read_bytes())


def probabilities(summary: dict[str, Any]) -> list[float]:
    return [image["probability"] for image in summary["images"]]


def losses(summary: dict[str, Any]) -> list[float]:
    return [epoch["val_loss"] for epoch in summary["history"]]


def scored(run: Path) -> pa.Table:
    """All rows of a run, in order."""
    tables = (pq.read_table(file) for file in sorted(run.glob("predictions/*.parquet")))
    return pa.concat_tables(tables, promote_options="default")


def num_rows(run: Path) -> int:
    return scored(run).num_rows


def assert_same_rows(now: pa.Table, before: pa.Table, *, trained: bool = False) -> None:
    """The same images in the same order, with the same errors and, nearly, probabilities."""
    assert set(now.column_names) == {*before.column_names, "scored_at", "gone_at"}
    now = without_session(now).select(without_session(before).column_names)
    apart = {"model"} if trained else set()
    numbers = {field.name for field in now.schema if pa.types.is_floating(field.type)}
    assert "probability" in numbers
    # reasons are written for people and may improve; categories are promised
    texts = {"error"}
    for name in (
        set(now.column_names) - apart - numbers - texts - ({"prediction"} if trained else set())
    ):
        assert now[name] == before[name], name
    for name in texts:
        kept, new = (
            [text and text.partition(": ")[0] for text in rows[name].to_pylist()]
            for rows in (before, now)
        )
        assert new == kept
    for name in numbers:
        assert now[name].is_null() == before[name].is_null()
        pairs = [column[name].drop_null().to_numpy() for column in (now, before)]
        assert pairs[0] == pytest.approx(pairs[1], abs=TRAINED if trained else 1e-6), name


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every leaf of a JSON value under its path."""
    return dict(_leaves(value, name))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{name}/{key}")
    else:
        yield name, value
