"""From runs to the sections that say what the figures are not evidence for: audit and limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs.data.manifest import Manifest
from cnnjobs.models.bundle import Bundle
from cnnjobs.report.blocks import Section, Table
from cnnjobs.report.formatting import ends, interval, number
from cnnjobs.report.inputs import Given
from cnnjobs.report.sections import figures_of

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
