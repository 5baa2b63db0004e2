"""The page of a report, as text; tests/reporting/test_report_page.py opens it in a browser."""

import dataclasses
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cnnjobs import schema
from cnnjobs.cli import main
from cnnjobs.cli.command_line import command_line
from cnnjobs.config import ReportConfig
from cnnjobs.errors import ConfigError, InputError
from cnnjobs.models import bundle as bundles
from cnnjobs.models import bundle_seal
from cnnjobs.models.bundle import Bundle
from cnnjobs.reporting import gallery, limits
from cnnjobs.reporting.card import TEXTS
from cnnjobs.reporting.checklists import CLAIM, TRIPOD_AI
from cnnjobs.reporting.report import ReportSummary, plan, report
from cnnjobs.storage import filesystem, run_dir, versions
from tests.support import report_runs
from tests.support.bundles import described, write_bundle
from tests.support.report_runs import EVIL, SCORES

NAMES = [EVIL, *(f"{number}.png" for number in range(1, len(SCORES)))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training, an evaluation and a scoring run of one model and eight images."""
    folder = tmp_path_factory.mktemp("runs")
    paths = report_runs.draw(folder / "images", NAMES)
    report_runs.write_train(str(folder / "train"), _bundle(folder), paths)
    rows = report_runs.predictions(paths)
    report_runs.write_evaluate(str(folder / "evaluate"), _bundle(folder), rows.slice(0, 6))
    report_runs.write_predict(str(folder / "predict"), _bundle(folder), rows)
    return folder


@pytest.fixture(scope="module")
def written(runs: Path) -> tuple[ReportSummary, str]:
    """The report of all three, and the page."""
    page = runs / "report.html"
    summary = report(_config(runs, page, title="A <b>title</b>"), spell=command_line)
    return summary, page.read_text()


def test_the_page_has_a_section_for_each_run_its_data_and_its_model(
    written: tuple[ReportSummary, str],
) -> None:
    summary, page = written
    assert summary.sections == ["data", "model", "training", "evaluation", "limits", "repeat"]
    assert (summary.num_images, summary.num_shown, summary.unread) == (8, 8, 0)
    assert summary.size_bytes == len(page.encode())
    text = _text(page)
    assert "AUROC 0.75 0.51 to 0.95" in text
    assert "Specificity undefined none" in text
    assert "actual \\ predicted normal opacity normal 2 1 opacity 1 2" in text
    assert "class train validation test all normal 2 1 1 4 opacity 1 2 1 4" in text
    assert "Parameters 109,313" in text
    assert re.search(r"\(Conv2D\) 254 x 254 x 32, 320 parameters", text)
    assert "Source north has only normal" in text
    assert "Images left out because they could not be read: 1." in text
    assert 'alt="Learning rate, gradient norm and speed over 2 epochs."' in page


def test_the_page_says_how_to_repeat_it(written: tuple[ReportSummary, str], runs: Path) -> None:
    text = _text(written[1])
    train = f"cnnjobs train xrays/manifest.parquet --output {runs}/train --epochs 2 --calibrate"
    assert train in text
    assert f"cnnjobs predict {runs}/train/bundle xrays --output {runs}/predict" in text
    assert f"keras {versions.package_versions()['keras']}" in text


def test_the_page_loads_nothing(written: tuple[ReportSummary, str]) -> None:
    _, page = written
    links = _Links()
    links.feed(page)
    assert links.found
    assert [link for link in links.found if not link.startswith(("data:", "#"))] == []
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src &#39;none&#39;" in page


def test_every_image_has_an_alternative_text_and_every_link_a_target(
    written: tuple[ReportSummary, str],
) -> None:
    _, page = written
    assert re.findall(r"<img [^>]*>", page)
    assert not re.findall(r'<img (?![^>]*alt="[^"]{10,}")[^>]*>', page)
    assert page.count("<h1>") == 1
    assert set(re.findall(r'href="#([\w-]+)"', page)) <= set(re.findall(r'id="([\w-]+)"', page))


def test_markup_in_names_is_escaped(written: tuple[ReportSummary, str], runs: Path) -> None:
    _, page = written
    assert "<img src=x" not in page
    assert "<b>title" not in page
    assert "<h1>A &lt;b&gt;title&lt;/b&gt;</h1>" in page
    assert str(runs / "images" / EVIL) in [image["path"] for image in _images(page)]


def test_each_image_is_listed_with_its_thumbnail(written: tuple[ReportSummary, str]) -> None:
    images = {Path(image["path"]).name: image for image in _images(written[1])}
    assert len(images) == len(SCORES)
    assert [name for name, image in images.items() if image["wrong"]] == ["1.png", "4.png"]
    assert {name for name, image in images.items() if image["uncertain"]} == {"2.png", "5.png"}
    assert images["7.png"]["error"] == "truncated: the PNG ends early"
    assert images["7.png"]["thumbnail"] is None
    assert images["1.png"]["probability"] == 0.98
    assert images["1.png"]["wrongness"] == 0.98
    assert images["1.png"]["split"] == "validation"
    assert images["6.png"]["label"] is None
    assert images["1.png"]["thumbnail"].startswith("data:image/webp;base64,")


def test_the_page_opens_with_whether_the_model_was_audited(
    runs: Path, written: tuple[ReportSummary, str], tmp_path: Path
) -> None:
    assert written[0].verdict is None
    caveat = (
        "not audited The model may rely on where images come from rather than on the lungs; run "
        "cnnjobs audit."
    )
    assert caveat in _text(written[1])
    line = "88% of the score survives without the lungs"
    row = {"name": "border only", "auroc": 0.88, "low": 0.8, "high": 0.9512, "share": 0.78}
    audit = {
        "model_digest": _bundle(runs).model_digest,
        "verdict": "shortcut",
        "surviving_share": 0.78,
        "line": f"audit: shortcut: {line}",
        "rows": [{**row, "low": None, "high": None}, row],
    }
    for kept, uri in (("bundle", "predict"), ("evaluation", "audited")):
        if kept == "bundle":
            bundle_seal.add(_bundle(runs).uri, {"audit.json": json.dumps(audit).encode()})
        else:
            rows = report_runs.predictions([str(runs / "images" / "1.png")], [("normal", 0.2)])
            report_runs.write_evaluate(str(runs / uri), _bundle(runs), rows, audit=audit)
        page = tmp_path / f"{kept}.html"
        summary = report(ReportConfig(runs=(str(runs / uri),), output=str(page)))
        _forget(runs, "audit.json")
        assert summary.verdict == "shortcut"
        text = _text(page.read_text())
        assert f"shortcut {line}" in text
        assert text.count(line) == 1
        assert "border only 0.88 none 0.78 border only 0.88 0.80 to 0.95 0.78" in text


def test_external_tests_stand_first_and_alarms_with_what_they_are_about(
    runs: Path, tmp_path: Path
) -> None:
    test = {"manifest": "other", "date": "2026-11-28T10:00:00+00:00", "num_images": 44}
    external = [
        {**test, "set": "north", "auroc": 0.33, "interval": [0.21, 0.47]},
        {**test, "set": "south", "auroc": 0.8, "interval": [0.7, 0.9]},
    ]
    record = {"model_digest": _bundle(runs).model_digest, "external": external}
    bundle_seal.add(_bundle(runs).uri, {"evaluation.json": json.dumps(record).encode()})
    rows = report_runs.predictions([str(runs / "images" / "1.png")], [("normal", 0.2)])
    audit = {"verdict": "undecided", "line": "audit: undecided.", "give_aways": ["size tells it."]}
    run = str(tmp_path / "run")
    alarms = ["every image is predicted normal."]
    by_source = {
        "by": "source",
        "subgroups": [
            {
                "value": "east",
                "num_images": 30,
                "metrics": {"auroc": 0.7},
                "intervals": {"auroc": [0.5, 0.8]},
            }
        ],
        "gaps": [],
    }
    point = {"prevalence": 0.02, "ppv": 0.3, "npv": 0.9}
    curve = [{**point, "ppv_interval": [0.2, 0.4], "npv_interval": None}]
    report_runs.write_evaluate(
        run,
        _bundle(runs),
        rows,
        audit=audit,
        alarms=alarms,
        subgroups=[by_source],
        prevalence_curve=curve,
    )
    page = tmp_path / "report.html"
    try:
        summary = report(ReportConfig(runs=(run,), output=str(page)))
    finally:
        _forget(runs, "evaluation.json")
    assert summary.sections[0] == "external"
    text = _text(page.read_text())
    assert "External test on 44 images of south (2026-11-28): AUROC 0.80 (0.70 to 0.90)." in text
    assert (
        "Note: External test on 44 images of north (2026-11-28): AUROC 0.33 (0.21 to 0.47): no "
        "better than chance at north: do not use there." in text
    )
    assert "Note: Every image is predicted normal." in text
    assert "Note: Size tells it." in text
    assert "By source. Largest gaps: none known." in text
    assert "east 30 0.70 (0.50 to 0.80)" in text
    assert "0.02 0.30 (0.20 to 0.40) 0.90" in text


def test_sample_images_of_an_evaluation_have_an_alternative_text(
    runs: Path, tmp_path: Path
) -> None:
    rows = report_runs.predictions([str(runs / "images" / "1.png")], [("normal", 0.2)])
    run = str(tmp_path / "run")
    report_runs.write_evaluate(run, _bundle(runs), rows, plots=["samples.png"])
    report_runs.draw(tmp_path / "run" / "plots", ["samples.png"])
    page = tmp_path / "report.html"
    report(ReportConfig(runs=(run,), output=str(page)))
    assert 'alt="Test images with their true and predicted class."' in page.read_text()


def test_other_data_that_was_tested_beside_stand_on_the_page(runs: Path, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    paths = [str(runs / "images" / f"{number}.png") for number in (1, 3)]
    beside = {
        "data": "xrays/far.parquet",
        "num_images": 1,
        "metrics": {"auroc": 0.998, "npv": None},
        "intervals": {"auroc": [0.41, 1.0]},
        "drops": {"auroc": {"value": 0.2, "interval": [0.1, 0.3]}},
        "predictions": "beside/part-00000.parquet",
    }
    rows = report_runs.predictions(paths, [("normal", 0.2), ("opacity", 0.3)])
    report_runs.write_evaluate(run, _bundle(runs), rows.slice(0, 1), beside=[beside])
    filesystem.write_table(f"{run}/beside/part-00000.parquet", rows.slice(1))
    page = tmp_path / "report.html"
    summary = report(ReportConfig(runs=(run,), output=str(page)))
    assert summary.sections[0] == "external"
    text = _text(page.read_text())
    assert "1 image of far (evaluate --beside)." in text
    assert "AUROC >0.99 0.41 to 1.00 0.20 (0.10 to 0.30) NPV undefined none unknown" in text
    sets = {Path(image["path"]).name: image["split"] for image in _images(page.read_text())}
    assert sets == {"1.png": None, "3.png": "beside: far"}


def test_a_model_of_many_classes_is_not_told_to_run_an_audit(tmp_path: Path) -> None:
    bundle = dataclasses.replace(described(), labels=["0", "1", "2"], positive=None)
    audit = limits.find_audit([], bundle)
    assert (audit.name, audit.line) == (
        "not audited",
        "An audit takes a model of two classes, this one has 3.",
    )


def test_a_card_and_the_checklists_say_what_is_not_reported(runs: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.yaml"
    card.write_text(
        "intended_use: Teaching\nauthors: [A. One, B. Two]\n"
        "tripod_ai:\n  17: No approval was needed\nclaim:\n  14: Two readers\n"
    )
    page = tmp_path / "report.html"
    summary = report(_config(runs, page, card=str(card)))
    assert summary.sections[0] == "card"
    assert summary.sections[-3:] == ["limits", "checklists", "repeat"]
    text = _text(page.read_text())
    assert "Intended use Teaching Out-of-scope use not reported Authors A. One, B. Two" in text
    assert "17 Ethical approval No approval was needed 18a Funding not reported" in text
    assert "14 Definition of the reference standard Two readers" in text
    assert "26 Limitations see Limits" in text
    assert [len(TRIPOD_AI), len(CLAIM)] == [52, 42]
    names = {name for item in (*TRIPOD_AI, *CLAIM) for name in item.answers}
    assert names - {"cross-validation", "external", "audit"} <= _answers(summary)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("intended_uses: x", "unknown key 'intended_uses'; did you mean intended_use?"),
        ("contact: 3", "contact must be text, got 3; write it in quotes."),
        ("authors: []", "authors must be text, got []; write it in quotes."),
        ("claim: all", "claim must be `item: text` lines, got 'all'."),
        ("tripod_ai:\n  3d: x", "unknown key '3d'; "),
    ],
)
def test_a_card_with_a_mistake_is_refused(
    runs: Path, tmp_path: Path, text: str, problem: str
) -> None:
    card = tmp_path / "card.yaml"
    card.write_text(text)
    with pytest.raises(ConfigError) as refused:
        plan(_config(runs, tmp_path / "report.html", card=str(card)))
    assert str(refused.value).startswith(f"{card}: ")
    assert problem in str(refused.value)


def test_an_audit_of_another_model_is_ignored(runs: Path, tmp_path: Path) -> None:
    audit = json.dumps({"model_digest": "another model's", "verdict": "none found"})
    bundle_seal.add(_bundle(runs).uri, {"audit.json": audit.encode()})
    try:
        summary = report(_config(runs, tmp_path / "report.html"))
    finally:
        _forget(runs, "audit.json")
    assert summary.verdict is None


def test_a_cross_validation_is_shown_over_its_folds_and_by_source(tmp_path: Path) -> None:
    fold = {"name": "fold 1", "num_test": 20, "metrics": {"auroc": 0.91, "sensitivity": None}}
    summary = {
        "architecture": "covid",
        "positive": "covid",
        "num_images": 40,
        "num_groups": 22,
        "folds": [fold, {**fold, "name": "fold 2"}],
        "estimates": {"auroc": {"num": 2, "mean": 0.9, "sd": 0.05, "low": 0.6, "high": 1.0}},
        "sources": [{**fold, "name": "north"}],
        "not_left_out": {"south": "it holds one class only."},
        "plots": [],
    }
    rows = report_runs.predictions(["a", "b", "c", "a"], [*SCORES[:2], ("opacity", 0.9), SCORES[1]])
    left_out = pa.array([None, None, None, "north"], pa.string())
    rows = rows.append_column("repeat", pa.array([0, 0, 1, None], pa.int32()))
    run = run_dir.start(str(tmp_path / "run"), "crossval", {"data": "m"})
    part = "part-00000.parquet"
    filesystem.write_table(run.path("predictions", part), rows.append_column("left_out", left_out))
    run.finish(files=[part], summary=summary)
    page = tmp_path / "report.html"
    report(ReportConfig(runs=(str(tmp_path / "run"),), output=str(page)))
    text = _text(page.read_text())
    assert "40 images from 22 groups, each tested by a covid model that has not seen" in text
    assert "AUROC 0.90 0.05 0.60 to 1.00" in text
    assert "fold 2 20 0.91 undefined undefined" in text
    assert "Each source, left out of the training. tested on images" in text
    assert "Source south could not be left out: it holds one class only." in text
    # each image once, by the fold of the first repeat that tested it
    assert "actual \\ predicted normal opacity normal 1 1 opacity 0 0" in text
    shown = {(image["path"], image["wrong"], image["split"]) for image in _images(page.read_text())}
    assert shown == {("a", False, "out of fold"), ("b", True, "out of fold")}


def test_deleted_images_are_listed_with_the_reason(runs: Path, tmp_path: Path) -> None:
    gone = [str(tmp_path / "gone.png")]
    rows = report_runs.predictions(gone, [("normal", 0.2)])
    report_runs.write_predict(str(tmp_path / "run"), _bundle(runs), rows)
    page = tmp_path / "report.html"
    summary = report(ReportConfig(runs=(str(tmp_path / "run"),), output=str(page)))
    assert summary.unread == 1
    [image] = _images(page.read_text())
    assert image["unread"] == "missing: the file is gone"


def test_an_interrupted_run_is_shown_with_a_warning(runs: Path, tmp_path: Path) -> None:
    rows = report_runs.predictions([str(runs / "images" / "1.png")], [("normal", 0.2)])
    run = str(tmp_path / "run")
    report_runs.write_predict(run, _bundle(runs), rows, finished=False)
    page = tmp_path / "report.html"
    summary = report(ReportConfig(runs=(run,), output=str(page)))
    warning = f"The predict run {run} is not finished (status failed): partial results are shown."
    assert summary.warnings == [warning]
    assert summary.num_shown == 1
    assert warning in _text(page.read_text())


def test_without_its_bundle_the_page_shows_what_the_runs_hold(runs: Path, tmp_path: Path) -> None:
    rows = report_runs.predictions([str(runs / "images" / "1.png")], [("normal", 0.9)])
    lost = dataclasses.replace(_bundle(runs), uri=str(tmp_path / "lost"))
    report_runs.write_predict(str(tmp_path / "run"), lost, rows)
    page = tmp_path / "report.html"
    summary = report(ReportConfig(runs=(str(tmp_path / "run"),), output=str(page)))
    assert summary.warnings == [
        f"The bundle of {lost.name} is gone: the page lacks its architecture, and no image is "
        "marked uncertain."
    ]
    [image] = _images(page.read_text())
    assert (image["wrong"], image["uncertain"]) == (True, False)


def test_the_most_wrong_and_the_most_certain_get_a_heat_map(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    summary = report(_config(runs, page))
    images = [image for image in _images(page.read_text()) if "heat" in image]
    # all that have a score: fewer than the limit
    assert summary.num_explained == len(images) == 7
    assert all(image["heat"].startswith("data:image/webp;base64,") for image in images)
    assert all(image["is_empty"] == (image["heat"] == image["large"]) for image in images)
    assert not all(image["is_empty"] for image in images)
    assert not any(image["is_cut"] for image in images)


def test_the_most_wrong_and_the_most_certain_of_each_class_are_explained() -> None:
    scores = [("normal", 0.9 + 0.001 * number) for number in range(20)]  # all wrong
    scores += [("opacity", 0.8 + 0.001 * number) for number in range(20)]
    scores += [("normal", 0.3)]
    judged = gallery.judge(
        report_runs.predictions([str(number) for number in range(41)], scores), described()
    )
    explained = gallery.to_explain(judged, np.arange(41))
    assert explained[:12] == [str(number) for number in range(19, 7, -1)]
    # the one predicted normal gets its turn
    assert set(explained[12:]) == {"40", *(str(number) for number in range(39, 28, -1))}


def test_images_near_the_threshold_in_odds_are_uncertain() -> None:
    paths = ["a", "b", "c", "d"]
    scores = [("normal", 0.04), ("normal", 0.06), ("normal", 0.22), ("normal", 0.24)]
    bundle = dataclasses.replace(described(), threshold=0.1)
    # odds of 1 to 9, divided and multiplied by e: 0.0393 to 0.2319
    judged = gallery.judge(report_runs.predictions(paths, scores), bundle)
    assert judged.is_uncertain.tolist() == [True, True, True, False]
    assert judged.counts == {"wrong": 0, "uncertain": 3, "without a score": 0}


def test_with_many_classes_the_probability_of_the_label_counts() -> None:
    bundle = dataclasses.replace(described(), labels=["0", "1", "2"], positive=None)
    rows = [
        {"label": "2", "prediction": "0", "probabilities": [0.9, 0.1, 0.0], "error": None},
        {"label": "1", "prediction": "1", "probabilities": [0.2, 0.5, 0.3], "error": None},
        {"label": "1", "prediction": None, "probabilities": None, "error": "empty: no bytes"},
    ]
    table = pa.Table.from_pylist(
        [
            {"path": str(number), "model": "", "run_id": "", **row}
            for number, row in enumerate(rows)
        ],
        schema.predictions(3),
    )
    judged = gallery.judge(table, bundle)
    assert judged.is_wrong.tolist() == [True, False, False]
    assert judged.is_uncertain.tolist() == [False, True, False]
    assert judged.is_error.tolist() == [False, False, True]
    assert judged.wrongness.tolist() == pytest.approx([1.0, 0.5, -1.0])


def test_of_too_many_images_the_notable_ones_are_kept_and_the_rest_is_sampled() -> None:
    scores = [("normal", 0.01)] * 90 + list(SCORES)
    paths = [str(number) for number in range(len(scores))]
    judged = gallery.judge(report_runs.predictions(paths, scores), described())
    indices = gallery.select(judged, 20, seed=1)
    assert set(indices[:2]) == {91, 94}
    assert indices[2] == 97
    assert set(indices[3:5]) == {92, 95}
    assert len(set(indices)) == 20
    assert indices.tolist() == gallery.select(judged, 20, seed=1).tolist()
    assert indices.tolist() != gallery.select(judged, 20, seed=2).tolist()
    assert gallery.describe_selection(judged, 20, 1) == (
        "20 of 98 scored images: all 5 that are wrong, without a score or uncertain, and 15 "
        "others drawn with seed 1."
    )
    assert gallery.describe_selection(judged, 3, 1) == (
        "3 of 98 scored images, as many as --max-images allows: drawn with seed 1 from the 5 that "
        "are wrong, without a score or uncertain, in this order."
    )
    assert gallery.describe_selection(judged, 98, 1) == "All 98 scored images."


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        plan(ReportConfig(runs=(str(tmp_path),)))
    assert str(refused.value) == (
        f"{tmp_path} holds no run (no run.json); give the output directory of train, tune, "
        "evaluate, audit, predict or crossval."
    )


def test_a_run_of_another_command_is_refused(tmp_path: Path) -> None:
    run_dir.start(str(tmp_path), "bench", {}).finish()
    with pytest.raises(InputError) as refused:
        plan(ReportConfig(runs=(str(tmp_path),)))
    assert str(refused.value) == (
        f"{tmp_path} is a bench run; a report takes runs of train, tune, evaluate, audit, predict "
        "and crossval."
    )


def test_runs_of_different_models_are_refused(runs: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(_bundle(runs), architecture="other")
    report_runs.write_predict(str(tmp_path / "run"), other, report_runs.predictions([], []))
    with pytest.raises(InputError) as refused:
        plan(ReportConfig(runs=(str(runs / "train"), str(tmp_path / "run"))))
    assert str(refused.value) == (
        f"the runs are of different models ({_bundle(runs).name}, {other.name}); "
        "report the runs of one model, or use cnnjobs compare."
    )


def test_an_existing_page_is_replaced_only_on_request(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    old = '<meta name="generator" content="cnnjobs report">'
    page.write_text(old)
    with pytest.raises(InputError) as refused:
        plan(_config(runs, page))
    assert str(refused.value) == f"{page} already exists; choose another name or add --overwrite."
    plan(dataclasses.replace(_config(runs, page), overwrite=True))
    assert page.read_text() == old


def test_the_command_prints_where_the_page_is(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    with pytest.raises(SystemExit, match="0"):
        main(["report", str(runs / "predict"), "-o", str(page), "--max-images", "2", "-q"])
    out = capsys.readouterr().out
    assert "images: 2 of 8\n" in out
    assert out.endswith(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB)\n")


def test_runs_and_images_on_s3_make_a_page_on_s3(runs: Path, s3: str) -> None:
    for file in (runs / "train" / "bundle").iterdir():
        # without the export, and so without the seal
        if file.is_file() and file.name != "SHA256SUMS":
            filesystem.write_bytes(f"{s3}/bundle/{file.name}", file.read_bytes())
    filesystem.write_bytes(f"{s3}/images/1.png", (runs / "images" / "1.png").read_bytes())
    rows = report_runs.predictions([f"{s3}/images/1.png"], [("normal", 0.9)])
    report_runs.write_predict(f"{s3}/run", bundles.read(f"{s3}/bundle"), rows)
    summary = report(ReportConfig(runs=(f"{s3}/run",), output=f"{s3}/report.html"))
    assert (summary.num_shown, summary.unread, summary.warnings) == (1, 0, [])
    [image] = _images(filesystem.read_bytes(f"{s3}/report.html").decode())
    assert image["thumbnail"] is not None


class _Links(HTMLParser):
    """Collects what a page would load or link to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "href", "srcset", "action", "data", "poster")
        self.found += [value or "" for name, value in attrs if name in names]


def _answers(summary: ReportSummary) -> set[str]:
    """What may answer an item: sections of a page, and keys of a card."""
    return {*summary.sections, "gallery", *TEXTS}


def _config(runs: Path, page: Path, **settings) -> ReportConfig:
    names = ("predict", "evaluate", "train")
    return ReportConfig(
        runs=tuple(str(runs / name) for name in names), output=str(page), **settings
    )


def _bundle(folder: Path) -> Bundle:
    path = folder / "train" / "bundle"
    return bundles.read(str(path)) if path.exists() else write_bundle(path, "covid-gap")


def _forget(folder: Path, result: str) -> None:
    uri = _bundle(folder).uri
    Path(uri, result).unlink(missing_ok=True)
    bundle_seal.seal(uri)


def _images(page: str) -> list[dict]:
    block = re.search(r'<script type="application/json" id="gallery-data">(.*?)</script>', page)
    return json.loads(block[1])["images"]


def _text(page: str) -> str:
    """The visible text: no tags, one space between words."""
    bare = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", bare)).split())
