"""From runs to the parts of a page that say how good the model is, and what nobody knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs.data.manifest import Manifest
from cnnjobs.models.bundle import Bundle
from cnnjobs.reporting.blocks import Section, Table, Tile, shown
from cnnjobs.reporting.formatting import KEY, ends, interval, named, number
from cnnjobs.reporting.inputs import Given
from cnnjobs.reporting.sections import figures_of

#: Fewer test images than this make every figure a guess.
_FEW_IMAGES = 200


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What an audit found, wherever it stands; `verdict` is None where there was none."""

    verdict: str | None
    line: str
    rows: Sequence[Mapping[str, Any]] = ()


def audited(given: Sequence[Given], kept: Mapping[str, Any] | None) -> Audited:
    """The audit of these runs, or the one that the bundle keeps, or that there is none."""
    found = [
        *(run.summary for run in given if run.command == "audit"),
        *(run.summary.get("audit") for run in given if run.command == "evaluate"),
        kept,
    ]
    for audit in found:
        if audit and audit.get("verdict"):
            return Audited(
                verdict=audit["verdict"],
                line=audit.get("line") or f"Verdict of the audit: {audit['verdict']}.",
                rows=audit.get("rows") or (),
            )
    return Audited(
        verdict=None,
        line="Nobody has looked whether the model sees the lungs or only tells where an image "
        "comes from: run cnnjobs audit.",
    )


def tiles(given: Sequence[Given]) -> list[Tile]:
    """The key figures of the first evaluation, with their intervals."""
    run = next((run for run in given if run.command == "evaluate" and run.summary), None)
    if run is None:
        return []
    told = run.summary
    key = KEY[0] if told.get("positive") is not None else KEY[1]
    groups = f"{told['num_groups']:,} groups, split {told['split']}"
    return [
        *(
            Tile(
                name=named(name),
                value=number(told["metrics"][name]),
                note=interval(told["intervals"].get(name)),
            )
            for name in key
            if told["metrics"].get(name) is not None
        ),
        Tile(name="Test images", value=f"{told['num_images']:,}", note=groups),
    ]


def evaluation(given: Sequence[Given]) -> Section | None:
    """Metrics with intervals, the confusion matrix and the figures of each evaluation."""
    told = [run for run in given if run.command == "evaluate"]
    if not told:
        return None
    ended = [run for run in told if run.summary]
    return Section(
        name="evaluation",
        title="Evaluation",
        text=[_tested_on(run) for run in ended],
        warnings=[text for run in ended for text in _warnings(run.summary)],
        tables=[table for run in ended for table in _tables(run)],
        figures=[figure for run in ended for figure in figures_of(run, _alts(run.summary))],
    )


def audit(found: Audited, given: Sequence[Given]) -> Section | None:
    """The verdict, and the score of what is left when parts of the images are taken away."""
    told = [run for run in given if run.command == "audit"]
    if found.verdict is None and not told:
        return None
    tables = []
    if found.rows:
        tables.append(
            Table(
                caption="What the model scores when parts of every image are taken away.",
                header=["images", "AUROC", "95 % interval", "share of the score"],
                rows=[
                    [
                        row["name"],
                        number(row["auroc"]),
                        interval(ends(row)),
                        number(row.get("share")),
                    ]
                    for row in found.rows
                ],
            )
        )
    return Section(
        name="audit",
        title="Audit",
        text=[found.line],
        tables=tables,
        figures=[figure for run in told for figure in figures_of(run, {})],
    )


def limits(
    given: Sequence[Given],
    bundle: Bundle | None,
    manifests: Mapping[str, Manifest],
    found: Audited,
) -> Section:
    """What the model is not for, and what was not tested."""
    ended = [run for run in given if run.command == "evaluate" and run.summary]
    points = [
        "Not a medical device, and no evidence about any patient: for research, teaching and the "
        "test of software. A person must judge every image that matters.",
    ]
    sources = {
        source
        for images in manifests.values()
        for source in images.table["source"].unique().to_pylist()
    }
    if sources:
        points.append(
            f"Made and tested on images of {', '.join(sorted(sources))}. Other scanners, hospitals "
            "and patients may give other figures, mostly worse ones."
        )
    if not ended:
        points.append("Not evaluated: how often the model is right is not told here.")
    if found.verdict is None:
        points.append("Not audited for shortcuts.")
    at_home = bundle is not None and all(
        run.record.get("manifest") == bundle.manifest_fingerprint for run in ended
    )
    if ended and at_home:
        points.append("Not tested on images of another collection than it was trained on.")
    few = [run.summary for run in ended if run.summary["num_images"] < _FEW_IMAGES]
    points += [
        f"Tested on {told['num_images']} images of {told['num_groups']} groups only: believe the "
        "intervals, not the figures."
        for told in few
    ]
    points.append(
        "Not tested apart by age, sex, view, device or how ill the patients are: these are not "
        "known here."
    )
    return Section(name="limits", title="Limits", points=points)


def _tested_on(run: Given) -> str:
    told = run.summary
    counts = shown(told["counts"])
    groups = f"{told['num_groups']:,} groups"
    text = f"{told['num_images']:,} images of {groups} ({counts}), split {told['split']} of "
    threshold = (
        f"; {told['positive']} is predicted from a probability of {shown(told['threshold'])} on"
        if told.get("positive") is not None
        else ""
    )
    return f"{text}{run.config['data']}{threshold}."


def _warnings(told: Mapping[str, Any]) -> list[str]:
    warnings = [
        f"{told[name]:,} images {what}." if told.get(name) else None
        for name, what in (
            ("num_failed", "could not be read and are left out"),
            ("num_unlabelled", "have no label and are left out"),
        )
    ]
    sentences = [told.get(name) for name in ("warning", "undefined", "no_intervals")]
    return [text[0].upper() + text[1:] for text in [*warnings, *sentences] if text]


def _tables(run: Given) -> list[Table]:
    told = run.summary
    labels = list(told["confusion"])
    by_class = {f"{kind}_{label}" for label in labels for kind in ("precision", "recall", "f1")}
    by_class = by_class if told.get("positive") is None else set()
    tables = [
        Table(
            caption=f"Metrics on split {told['split']}{_resampled(told)}.",
            header=["metric", "value", "95 % interval"],
            rows=[
                [named(name), number(value), interval(told["intervals"].get(name))]
                for name, value in told["metrics"].items()
                if name not in by_class
            ],
        ),
        Table(
            caption="Confusion matrix: actual class down, predicted class across.",
            header=["actual \\ predicted", *labels],
            rows=[
                [actual, *(shown(told["confusion"][actual].get(each, 0)) for each in labels)]
                for actual in labels
            ],
        ),
    ]
    if by_class:
        tables.append(_by_class(told, labels))
    return tables


def _resampled(told: Mapping[str, Any]) -> str:
    if not told["intervals"]:
        return ""
    return f"; the intervals hold 95 % of resamples of the {told['num_groups']:,} groups"


def _by_class(told: Mapping[str, Any], labels: Sequence[str]) -> Table:
    kinds = ("precision", "recall", "f1")
    return Table(
        caption="Each class against all others.",
        header=["class", "precision", "recall", "F1"],
        rows=[
            [label, *(number(told["metrics"].get(f"{kind}_{label}")) for kind in kinds)]
            for label in labels
        ],
    )


def _alts(told: Mapping[str, Any]) -> dict[str, str]:
    """Words for the figures of an evaluation, with the numbers they show."""
    metrics = told["metrics"]

    def having(name: str) -> str:
        ends_of = interval(told["intervals"].get(name))
        return f"{named(name)} {number(metrics.get(name))} ({ends_of})"

    table = "; ".join(
        f"{actual} predicted as {shown(its)}" for actual, its in told["confusion"].items()
    )
    return {
        "roc": f"ROC curve: sensitivity over 1 minus specificity; {having('auroc')}.",
        "precision_recall": f"Precision over recall; {having('auprc')}.",
        "confusion": f"Confusion matrix: {table}.",
        "reliability": "Reliability diagram: share of positives over the predicted probability; "
        f"{having('ece')}.",
        "probabilities": "Histogram of the probabilities of each class, with the threshold.",
        "decision_curve": "Decision curve: net benefit over the threshold probability, beside "
        "treating all and treating none.",
        "wrong": "The images that are predicted wrong, with label and prediction.",
        "digits": "Test images with their true and predicted class.",
    }
