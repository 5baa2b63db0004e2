"""From runs to the sections on what the metrics do not show: audit and limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs.config.printable import counted
from cnnjobs.data.manifest import Manifest
from cnnjobs.models import external_tests, model_card
from cnnjobs.models.bundle import Bundle
from cnnjobs.reporting.blocks import Section, Table
from cnnjobs.reporting.formatting import bounds, interval, number
from cnnjobs.reporting.inputs import InputRun
from cnnjobs.reporting.sections import plots_of

#: With fewer test images, no metric is precise.
_FEW_IMAGES = 200

#: Headings of verdicts that read badly without their sentence.
_NAMES = {None: "not audited", "none found": "no shortcut found"}


#: Alternative texts of an audit's plots.
_ALTS = {
    "audit": "AUROC when parts of every image are removed, as in the table.",
    "examples": "One test image, unchanged and with each of the parts removed.",
}


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """The result of an audit; `verdict` is None if there was none, `line` is without it."""

    verdict: str | None
    line: str
    rows: Sequence[Mapping[str, Any]] = ()
    give_aways: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The verdict as a heading."""
        return _NAMES.get(self.verdict, self.verdict or "")


def find_audit(runs: Sequence[InputRun], bundle: Bundle | None) -> AuditResult:
    """The audit in these runs, or else the one kept in the bundle."""
    audits = [
        *(run.summary for run in runs if run.command == "audit"),
        *(run.summary.get("audit") for run in runs if run.command == "evaluate"),
        model_card.read(bundle, model_card.AUDIT) if bundle is not None else None,
    ]
    for audit in audits:
        if audit and audit.get("verdict"):
            verdict = audit["verdict"]
            line = (audit.get("line") or "").removeprefix("audit: ")
            return AuditResult(
                verdict=verdict,
                line=line.removeprefix(f"{_NAMES.get(verdict, verdict)}: "),
                rows=audit.get("rows") or (),
                give_aways=audit.get("give_aways") or (),
            )
    if bundle is not None and bundle.positive is None:
        line = f"An audit takes a model of two classes, this one has {len(bundle.labels)}."
        return AuditResult(verdict=None, line=line)
    return AuditResult(
        verdict=None,
        line="The model may rely on where images come from rather than on the lungs; "
        "run cnnjobs audit.",
    )


def audit_section(audit: AuditResult, runs: Sequence[InputRun]) -> Section | None:
    """The score that remains when parts of the images are removed; the verdict tops the page."""
    runs = [run for run in runs if run.command == "audit"]
    if audit.verdict is None and not runs:
        return None
    tables = []
    if audit.rows:
        tables.append(
            Table(
                caption="The model's score when parts of every image are removed.",
                header=["images", "AUROC", "95% interval", "share of the score"],
                rows=[
                    [
                        row["name"],
                        number(row["auroc"]),
                        interval(bounds(row)),
                        number(row.get("share")),
                    ]
                    for row in audit.rows
                ],
            )
        )
    return Section(
        name="audit",
        title="Audit",
        warnings=[text[0].upper() + text[1:] for text in audit.give_aways],
        tables=tables,
        figures=[figure for run in runs for figure in plots_of(run, _ALTS)],
    )


def limits_section(
    runs: Sequence[InputRun],
    bundle: Bundle | None,
    manifests: Mapping[str, Manifest],
    audit: AuditResult,
) -> Section:
    """What the model must not be used for, and what was not tested."""
    evaluations = [run for run in runs if run.command == "evaluate" and run.summary]
    points = [
        "Not a medical device, and no basis for decisions about patients: for research, teaching "
        "and software testing. Every image that matters must be read by a person.",
    ]
    sources = {
        source
        for images in manifests.values()
        for source in images.table["source"].unique().to_pylist()
    }
    if sources:
        points.append(
            f"Trained or tested on images from {', '.join(sorted(sources))}. Expect different, "
            "usually worse, results with other scanners, hospitals and patients."
        )
    if not evaluations:
        points.append("Not evaluated: this report does not show how often the model is right.")
    if audit.verdict is None:
        points.append("Not audited for shortcuts.")
    is_same_collection = bundle is not None and all(
        run.record.get("manifest") == bundle.manifest_fingerprint for run in evaluations
    )
    if evaluations and is_same_collection and not (bundle and external_tests.read(bundle)):
        points.append("Not tested on images from a collection other than the training's.")
    points += [
        f"Tested on only {counted(run.summary['num_images'], 'image')} from "
        f"{counted(run.summary['num_groups'], 'group')}: rely on the intervals, not the point "
        "estimates."
        for run in evaluations
        if run.summary["num_images"] < _FEW_IMAGES
    ]
    columns = [each["by"] for run in evaluations for each in run.summary.get("subgroups") or ()]
    points.append(
        f"Broken down by {', '.join(columns)}, and by nothing else: other groups may fare worse."
        if columns
        else "Not broken down by age, sex, view or device (evaluate --by): some groups may fare "
        "worse than others."
    )
    return Section(name="limits", title="Limits", points=points)
