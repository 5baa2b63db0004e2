"""`cnnjobs evaluate`: score a split with known labels and say how right the model is."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs import metrics
from cnnjobs.cluster import spilling
from cnnjobs.config import EvaluateConfig, as_dict
from cnnjobs.data import manifest
from cnnjobs.errors import InputError
from cnnjobs.evaluation import (
    evaluation_plots,
    labelled_set,
    prediction_metrics,
    score_sets,
    shortcut_audit,
)
from cnnjobs.evaluation.labelled_set import LabelledSet
from cnnjobs.evaluation.score_sets import Tested
from cnnjobs.evaluation.shortcut_verdict import Audit
from cnnjobs.metrics import Difference, Interval
from cnnjobs.models import bundle as bundles
from cnnjobs.models import model_card
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir, s3
from cnnjobs.storage.run_dir import Run

#: Wrongly predicted images that the summary names.
_MOST_WRONG = 5

#: What the bundle keeps of an evaluation.
_CARRIED = ("num_images", "num_groups", "counts", "threshold", "metrics", "intervals", "warning")


@dataclass(frozen=True, kw_only=True)
class SetSummary:
    """What came of one set; `intervals` hold 95 % of resamples of the groups.

    Images without a score are counted, not guessed. See `metrics.Metrics`.
    """

    num_images: int
    num_groups: int
    num_failed: int
    num_unlabelled: int
    counts: Mapping[str, int]
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    no_intervals: str | None
    undefined: str | None
    confusion: Mapping[str, Mapping[str, int]]
    warning: str | None


@dataclass(frozen=True, kw_only=True)
class BesideSummary(SetSummary):
    """The same model on another set, whole: what it loses there.

    `drops` are the metrics of the test less those of this set; of errors (Brier score, ECE) a
    negative one is a loss. `predictions` is the file of its rows in the run.
    """

    data: str
    drops: Mapping[str, Difference]
    predictions: str | None


@dataclass(frozen=True, kw_only=True)
class WrongPrediction:
    """A misclassified image, and the probability of the prediction."""

    path: str
    label: str
    prediction: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class EvaluateSummary(SetSummary):
    """Metrics of one model on one split.

    `prevalence` is the one that was asked for. `plots` are files in the run's folder `plots`,
    `most_wrong` the wrongly predicted images whose own class is the least probable, with the
    probability of the prediction.
    """

    bundle: str
    model: str
    split: str
    positive: str | None
    threshold: float
    temperature: float
    prevalence: float | None
    most_wrong: Sequence[WrongPrediction]
    plots: Sequence[str]
    beside: Sequence[BesideSummary]
    audit: Audit | None
    output: str | None


@dataclass(frozen=True, kw_only=True)
class EvaluatePlan:
    """What would be evaluated, decided before Ray starts."""

    config: EvaluateConfig
    bundle: Bundle
    test: LabelledSet
    beside: Sequence[LabelledSet]
    output: str | None

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` tells."""
        return {
            "images": self.test.manifest.table.num_rows,
            "split": self.config.split,
            "beside": {each.data: each.manifest.table.num_rows for each in self.beside},
            "model": self.bundle.name,
            "labels": list(self.bundle.labels),
            "positive": self.bundle.positive,
            "warning": self.test.warning,
            "output": self.output,
        }


def plan(config: EvaluateConfig, progress: Progress = silent) -> EvaluatePlan:
    """Read the bundle and the data and check that they fit each other.

    Raises:
        InputError: labels the bundle does not know, no labels, an output in use, a prevalence
            for many classes, or images in a test that the model was trained on.
    """
    s3.use(**config.s3)
    bundle = bundles.read(config.bundle)
    if config.prevalence is not None and bundle.positive is None:
        raise InputError(
            f"prevalence is for two classes, the bundle has {len(bundle.labels)}; leave it out."
        )
    output = filesystem.normalize(config.output) if config.output is not None else None
    if output is not None:
        run_dir.check_free(output, overwrite=config.overwrite)
    return EvaluatePlan(
        config=config,
        bundle=bundle,
        test=labelled_set.open_labelled(config.data, config.split, bundle, progress),
        # another place is a test from end to end: nothing of it made the model
        beside=[
            labelled_set.open_labelled(data, "all", bundle, progress) for data in config.beside
        ],
        output=output,
    )


def evaluate(config: EvaluateConfig, progress: Progress = silent) -> EvaluateSummary:
    """Score the split and compare with its labels; with `output`, leave a run directory.

    Raises:
        InputError: see `plan`; or no image of the split could be scored.
    """
    planned = plan(config, progress)
    if planned.output is None:
        return _concluded(planned, _tested(planned, "evaluate", progress), progress, plots=[])
    facts = {"manifest": planned.test.fingerprint, "model": planned.bundle.name}
    run = run_dir.start(
        planned.output, "evaluate", as_dict(config), spilled_bytes=spilling.reported
    )
    with run.failing_recorded(**facts):
        tested = _tested(planned, run.run_id, progress)
        part = "part-00000.parquet"
        filesystem.write_table(run.path("predictions", part), tested[0].predictions)
        for place, other in enumerate(tested[1:]):
            filesystem.write_table(run.path(_beside_file(place)), other.predictions)
        manifest.write(planned.test.manifest, run.path("manifest.parquet"))
        plots = _draw(planned, tested, run, progress)
        summary = _concluded(planned, tested, progress, plots=plots)
        run.finish(**facts, files=[part], summary=summary)
    return summary


def _tested(planned: EvaluatePlan, run_id: str, progress: Progress) -> list[Tested]:
    """What came of the test, and then of what is to stand beside it."""
    sets = [planned.test, *planned.beside]
    return score_sets.tested(sets, planned.bundle, planned.config, run_id, progress)


def _draw(
    planned: EvaluatePlan, tested: Sequence[Tested], run: Run, progress: Progress
) -> list[str]:
    """Write the pictures; returns their names."""
    progress("draw", 0, None)
    names = []
    for name, png in evaluation_plots.pictures(
        tested[0].scored,
        planned.bundle,
        tested[0].measured,
        prevalence=planned.config.prevalence,
        bootstrap=tested[0].bootstrap,
        beside={each.images.data: each.scored for each in tested[1:]},
        policy=labelled_set.POLICY,
    ):
        filesystem.write_bytes(run.path("plots", name), png)
        names.append(name)
    return names


def _concluded(
    planned: EvaluatePlan, tested: Sequence[Tested], progress: Progress, *, plots: Sequence[str]
) -> EvaluateSummary:
    """The summary with its audit, and the bundle that carries both."""
    summary = _summary(planned, tested, plots=plots, audit=_audited(planned, progress))
    found = {model_card.EVALUATION: {name: getattr(summary, name) for name in _CARRIED}}
    if summary.audit is not None:
        found[model_card.AUDIT] = dataclasses.asdict(summary.audit)
    for file, facts in found.items():
        model_card.carry(
            planned.bundle,
            file,
            manifest=planned.test.fingerprint,
            split=summary.split,
            facts=facts,
        )
    return summary


def _audited(planned: EvaluatePlan, progress: Progress) -> Audit | None:
    config = planned.config
    if not config.audit or planned.bundle.positive is None:
        return None
    return shortcut_audit.audited(
        planned.bundle,
        planned.test.manifest.table,
        engine=config.engine,
        resamples=config.resamples,
        seed=config.seed,
        batch_size=config.batch_size,
        progress=progress,
    )


def _summary(
    planned: EvaluatePlan,
    tested: Sequence[Tested],
    *,
    plots: Sequence[str],
    audit: Audit | None,
) -> EvaluateSummary:
    bundle, test = planned.bundle, tested[0]
    return EvaluateSummary(
        bundle=bundle.uri,
        model=bundle.name,
        split=planned.config.split,
        positive=bundle.positive,
        threshold=bundle.threshold,
        temperature=bundle.temperature,
        prevalence=planned.config.prevalence,
        **_facts(test),
        most_wrong=[
            WrongPrediction(**row)
            for row in prediction_metrics.most_wrong(test.scored, bundle, _MOST_WRONG)
        ],
        plots=plots,
        beside=[
            BesideSummary(
                data=other.images.data,
                **_facts(other),
                drops=metrics.differences(test.measured, other.measured),
                predictions=_beside_file(place) if planned.output is not None else None,
            )
            for place, other in enumerate(tested[1:])
        ],
        audit=audit,
        output=planned.output,
    )


def _facts(tested: Tested) -> dict[str, Any]:
    """What the summary of every set has."""
    measured = tested.measured
    return {
        "num_images": tested.scored.num_rows,
        "num_groups": len(set(tested.bootstrap.groups)),
        "num_failed": tested.predictions.num_rows - tested.scored.num_rows,
        "num_unlabelled": tested.images.num_unlabelled,
        "counts": dict(Counter(tested.scored["label"].to_pylist()).most_common()),
        "metrics": measured.values,
        "intervals": measured.intervals,
        "no_intervals": measured.no_intervals,
        "undefined": measured.undefined,
        "confusion": measured.confusion,
        "warning": tested.images.warning,
    }


def _beside_file(place: int) -> str:
    return f"beside/part-{place:05d}.parquet"
