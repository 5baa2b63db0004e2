"""`cnnjobs audit`: does the score come from the lungs, or from how the images were made?"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from cnnjobs.cluster import spilling
from cnnjobs.config import AuditConfig, EvaluateConfig, as_dict
from cnnjobs.evaluation import audit_plots, evaluate, shortcut_audit
from cnnjobs.evaluation.evaluate import EvaluatePlan
from cnnjobs.evaluation.shortcut_audit import Loaded
from cnnjobs.evaluation.shortcut_verdict import Audit
from cnnjobs.models import model_card
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir

_PLOTS = ("audit.png", "examples.png")


@dataclass(frozen=True, kw_only=True)
class AuditSummary(Audit):
    """The audit, of which model and images it is, and where it lies.

    `carried` says whether the bundle carries it from now on.
    """

    bundle: str
    model: str
    positive: str
    split: str
    warning: str | None
    carried: bool
    plots: tuple[str, ...]
    output: str | None


def plan(config: AuditConfig) -> dict[str, Any]:
    """What `--dry-run` tells."""
    return _plan(config).facts


def audit(config: AuditConfig, progress: Progress = silent) -> AuditSummary:
    """Score the split whole and changed; with `output`, leave a run directory.

    Raises:
        InputError: as `evaluate.plan`; a bundle of more than two classes; or no image of the
            split can be read.
    """
    planned = _plan(config, progress)
    if planned.output is None:
        return _audited(planned, config, progress)[0]
    facts = {"manifest": planned.test.fingerprint, "model": planned.bundle.name}
    run = run_dir.start(planned.output, "audit", as_dict(config), spilled_bytes=spilling.reported)
    with run.failing_recorded(**facts):
        summary, images = _audited(planned, config, progress)
        example = images.pixels[:1]
        drawn = (
            audit_plots.aurocs(summary.rows, summary.line),
            audit_plots.changed(example, border=config.border, seed=config.seed),
        )
        for name, png in zip(summary.plots, drawn, strict=True):
            filesystem.write_bytes(run.path("plots", name), png)
        run.finish(**facts, files=[], summary=summary)
    return summary


def _plan(config: AuditConfig, progress: Progress = silent) -> EvaluatePlan:
    """What `evaluate` would score: the same images are allowed, and the same refused."""
    shared = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name != "border"
    }
    planned = evaluate.plan(EvaluateConfig(**shared), progress)
    shortcut_audit.check(planned.bundle)
    return planned


def _audited(
    planned: EvaluatePlan, config: AuditConfig, progress: Progress
) -> tuple[AuditSummary, Loaded]:
    bundle = planned.bundle
    progress("read", 0, planned.test.manifest.table.num_rows)
    images = shortcut_audit.load(bundle, planned.test.manifest.table, seed=config.seed)
    found = shortcut_audit.compare(
        images,
        shortcut_audit.scorer(bundle, engine=config.engine, batch_size=config.batch_size),
        positive=str(bundle.positive),
        resamples=config.resamples,
        seed=config.seed,
        border=config.border,
        num_left_out=planned.test.manifest.table.num_rows - len(images.labels),
        progress=progress,
    )
    carried = model_card.carry(
        bundle,
        model_card.AUDIT,
        manifest=planned.test.fingerprint,
        split=config.split,
        facts=dataclasses.asdict(found),
    )
    summary = AuditSummary(
        **{field.name: getattr(found, field.name) for field in dataclasses.fields(found)},
        bundle=bundle.uri,
        model=bundle.name,
        positive=str(bundle.positive),
        split=config.split,
        warning=planned.test.warning,
        carried=carried,
        plots=_PLOTS if planned.output is not None else (),
        output=planned.output,
    )
    return summary, images
