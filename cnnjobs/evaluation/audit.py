"""`cnnjobs audit`: does the score come from the lungs, or from how the images were made?"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from cnnjobs.cluster import spilling
from cnnjobs.config import AuditConfig, EvaluateConfig, as_dict, seeds
from cnnjobs.evaluation import audit_plots, evaluate, shortcut_audit
from cnnjobs.evaluation.evaluate import EvaluatePlan
from cnnjobs.evaluation.shortcut_audit import LoadedImages
from cnnjobs.evaluation.shortcut_verdict import Audit
from cnnjobs.imaging import plots
from cnnjobs.models import bundle as bundles
from cnnjobs.models import model_card
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import run_dir

_PLOTS = ("audit", "examples")


@dataclass(frozen=True, kw_only=True)
class AuditSummary(Audit):
    """The audit with its model and images, and where it was written.

    `carried` is true if it was also stored in the bundle.
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
    """What `--dry-run` prints."""
    return _plan(config).facts


def audit(config: AuditConfig, progress: Progress = silent) -> AuditSummary:
    """Score the split unchanged and changed; with `output`, leave a run directory.

    Raises:
        InputError: as `evaluate.plan`; or the bundle has more than two classes, or no image of
            the split can be read.
    """
    planned = _plan(config, progress)
    if planned.output is None:
        return _run_audit(planned, config, progress)[0]
    facts = {"manifest": planned.test.fingerprint, **bundles.identity([planned.bundle])}
    run = run_dir.start(planned.output, "audit", as_dict(config), spilled_bytes=spilling.reported)
    drawn = seeds.of_audit(config, split=planned.test.manifest.split_seed)
    with run.writing(**facts, seeds=drawn):
        summary, images = _run_audit(planned, config, progress)
        example = images.pixels[:1]
        figures = (
            audit_plots.aurocs(summary.rows),
            audit_plots.occluded(example, border=config.border, seed=config.seed),
        )
        for name, figure in zip(_PLOTS, figures, strict=True):
            plots.write(run.path("plots"), name, figure, config.figures)
        run.finish(**facts, files=[], summary=summary)
    return summary


def _plan(config: AuditConfig, progress: Progress = silent) -> EvaluatePlan:
    """The plan of `evaluate`: the same images are accepted and refused."""
    shared = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name != "border"
    }
    planned = evaluate.plan(EvaluateConfig(**shared), progress, command="audit")
    shortcut_audit.check(planned.bundle)
    return planned


def _run_audit(
    planned: EvaluatePlan, config: AuditConfig, progress: Progress
) -> tuple[AuditSummary, LoadedImages]:
    bundle = planned.bundle
    rows = planned.test.manifest.table
    progress("read", 0, rows.num_rows)
    images = shortcut_audit.load(bundle, rows, seed=config.seed)
    result = shortcut_audit.compare(
        images,
        shortcut_audit.scorer(bundle, engine=config.engine, batch_size=config.batch_size),
        positive=str(bundle.positive),
        resamples=config.resamples,
        seed=config.seed,
        border=config.border,
        num_left_out=rows.num_rows - len(images.labels),
        progress=progress,
    )
    carried = model_card.write(
        bundle,
        model_card.AUDIT,
        manifest=planned.test.fingerprint,
        split=config.split,
        facts=dataclasses.asdict(result),
    )
    summary = AuditSummary(
        **{field.name: getattr(result, field.name) for field in dataclasses.fields(result)},
        bundle=bundle.uri,
        model=bundle.name,
        positive=str(bundle.positive),
        split=config.split,
        warning=planned.test.warning,
        carried=carried,
        plots=tuple(file for name in _PLOTS for file in plots.file_names(name, config.figures))
        if planned.output is not None
        else (),
        output=planned.output,
    )
    return summary, images
