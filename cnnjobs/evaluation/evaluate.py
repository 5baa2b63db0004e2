"""`cnnjobs evaluate`: score a labelled split and measure how often the model is right."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from cnnjobs import metrics
from cnnjobs.cluster import spilling
from cnnjobs.config import EvaluateConfig, as_dict, seeds
from cnnjobs.data import manifest
from cnnjobs.errors import InputError
from cnnjobs.evaluation import (
    alarms,
    evaluation_plots,
    labelled_set,
    operating_points,
    prediction_metrics,
    score_sets,
    shortcut_audit,
    subgroups,
)
from cnnjobs.evaluation.evaluate_summary import (
    BesideSummary,
    EvaluateSummary,
    WrongPrediction,
)
from cnnjobs.evaluation.labelled_set import LabelledSet
from cnnjobs.evaluation.score_sets import MeasuredSet
from cnnjobs.evaluation.shortcut_verdict import Audit
from cnnjobs.imaging import plots
from cnnjobs.inference import backends, predictions
from cnnjobs.models import bundle as bundles
from cnnjobs.models import external_tests, model_card
from cnnjobs.models.bundle import Bundle
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem, run_dir, s3
from cnnjobs.storage.run_dir import Run

#: Misclassified images listed in the summary.
_MOST_WRONG = 5

#: Fields of an evaluation that are stored in the bundle.
_CARRIED = (
    *("num_images", "num_groups", "counts", "threshold", "metrics", "intervals", "warning"),
    "alarms",
)


@dataclass(frozen=True, kw_only=True)
class EvaluatePlan:
    """What to evaluate, decided before Ray starts."""

    config: EvaluateConfig
    bundle: Bundle
    test: LabelledSet
    beside: Sequence[LabelledSet]
    output: str | None

    @property
    def num_images(self) -> int:
        """Images in all sets."""
        return sum(each.manifest.table.num_rows for each in (self.test, *self.beside))

    @property
    def facts(self) -> dict[str, Any]:
        """What `--dry-run` prints."""
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


def plan(
    config: EvaluateConfig, progress: Progress = silent, *, command: str = "evaluate"
) -> EvaluatePlan:
    """Read the bundle and the data and check that they match.

    Args:
        config: the settings.
        progress: reports the files checked.
        command: whose output this is.

    Raises:
        InputError: labels that the bundle does not know, no labels, an output in use, a prevalence
            or operating points for more than two classes, a column that cannot break the metrics
            down, or test images that the model was trained on.
    """
    s3.use(**config.s3)
    bundle = bundles.read(config.bundle, expect=config.expect)
    if config.prevalence is not None and bundle.positive is None:
        raise InputError(
            f"prevalence needs two classes, the bundle has {len(bundle.labels)}; omit --prevalence."
        )
    if config.at and bundle.positive is None:
        raise InputError(
            f"operating points need two classes, the bundle has {len(bundle.labels)}; omit --at."
        )
    output = filesystem.normalize(config.output) if config.output is not None else None
    if output is not None:
        inputs = [config.bundle, bundle.uri, config.data, *config.beside]
        run_dir.check_free(output, command, overwrite=config.overwrite, inputs=inputs)
    chosen = config.chosen
    test = labelled_set.open_labelled(config.data, config.split, bundle, progress, **chosen)
    subgroups.check(config.by, test.manifest.table)
    # all of another set is test data: none of it was used in training
    beside = [
        labelled_set.open_labelled(data, "all", bundle, progress, **chosen)
        for data in config.beside
    ]
    if output is not None:
        for each in (test, *beside):
            each.manifest.check_apart(output)
    return EvaluatePlan(config=config, bundle=bundle, test=test, beside=beside, output=output)


def evaluate(config: EvaluateConfig, progress: Progress = silent) -> EvaluateSummary:
    """Score the split and compare it with its labels; with `output`, leave a run directory.

    Raises:
        InputError: see `plan`; or no image of the split could be scored.
    """
    planned = plan(config, progress)
    if planned.output is None:
        return _conclude(planned, _score(planned, "evaluate", progress), progress, drawn=[])
    backends.check(config, planned.num_images)
    facts = {"manifest": planned.test.fingerprint, **bundles.identity([planned.bundle])}
    run = run_dir.start(
        planned.output, "evaluate", as_dict(config), spilled_bytes=spilling.reported
    )
    split, audited = planned.test.manifest.split_seed, _is_audited(planned)
    with run.writing(**facts, seeds=seeds.of_evaluation(config, split=split, audited=audited)):
        measured = _score(planned, run.run_id, progress)
        part = "part-00000.parquet"
        entry = predictions.write_part(run.uri, part, measured[0].predictions)
        for index, other in enumerate(measured[1:]):
            filesystem.write_table(run.path(_beside_file(index)), other.predictions)
        manifest.write(planned.test.manifest, run.path("manifest.parquet"))
        drawn = _draw(planned, measured, run, progress)
        summary = _conclude(planned, measured, progress, drawn=drawn)
        run.finish(**facts, files=[part], parts={part: entry}, summary=summary)
    return summary


def _score(planned: EvaluatePlan, run_id: str, progress: Progress) -> list[MeasuredSet]:
    """The test set, followed by the other sets."""
    sets = [planned.test, *planned.beside]
    return score_sets.score_and_measure(sets, planned.bundle, planned.config, run_id, progress)


def _draw(
    planned: EvaluatePlan, measured: Sequence[MeasuredSet], run: Run, progress: Progress
) -> list[str]:
    """Write the plots; returns their names."""
    progress("draw", 0, None)
    names = []
    for name, figure in evaluation_plots.draw(
        measured[0].scored,
        planned.bundle,
        measured[0].measured,
        prevalence=planned.config.prevalence,
        bootstrap=measured[0].bootstrap,
        beside={other.labelled.data: other.scored for other in measured[1:]},
        policy=labelled_set.POLICY,
    ):
        names += plots.write(run.path("plots"), name, figure, planned.config.figures)
    return names


def _conclude(
    planned: EvaluatePlan,
    measured: Sequence[MeasuredSet],
    progress: Progress,
    *,
    drawn: Sequence[str],
) -> EvaluateSummary:
    """Audit, summarize, and store both in the bundle."""
    summary = _summary(planned, measured, drawn=drawn, audit=_audit(planned, progress))
    evidence = {model_card.EVALUATION: {name: getattr(summary, name) for name in _CARRIED}}
    evidence[model_card.EVALUATION][external_tests.KEY] = external_tests.merged(
        planned.bundle,
        {
            labelled.fingerprint: dataclasses.asdict(beside)
            for labelled, beside in zip(planned.beside, summary.beside, strict=True)
        },
    )
    if summary.audit is not None:
        evidence[model_card.AUDIT] = dataclasses.asdict(summary.audit)
    for file, facts in evidence.items():
        model_card.write(
            planned.bundle,
            file,
            manifest=planned.test.fingerprint,
            split=summary.split,
            facts=facts,
        )
    return summary


def _is_audited(planned: EvaluatePlan) -> bool:
    return planned.config.audit and planned.bundle.positive is not None


def _audit(planned: EvaluatePlan, progress: Progress) -> Audit | None:
    if not _is_audited(planned):
        return None
    config = planned.config
    return shortcut_audit.audit_rows(
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
    measured: Sequence[MeasuredSet],
    *,
    drawn: Sequence[str],
    audit: Audit | None,
) -> EvaluateSummary:
    bundle, test = planned.bundle, measured[0]
    return EvaluateSummary(
        bundle=bundle.uri,
        model=bundle.name,
        split=planned.config.split,
        positive=bundle.positive,
        threshold=bundle.threshold,
        temperature=bundle.temperature,
        prevalence=planned.config.prevalence,
        **_facts(test, bundle),
        most_wrong=[
            WrongPrediction(**row)
            for row in prediction_metrics.most_wrong(test.scored, bundle, _MOST_WRONG)
        ],
        plots=drawn,
        beside=[
            BesideSummary(
                data=other.labelled.data,
                **_facts(other, bundle),
                drops=metrics.differences(test.measured, other.measured, paired=False),
                predictions=_beside_file(index) if planned.output is not None else None,
            )
            for index, other in enumerate(measured[1:])
        ],
        subgroups=[
            subgroups.break_down(
                by, test.labelled.manifest.table, test.scored, bundle, test.bootstrap
            )
            for by in planned.config.by
        ],
        **_points(test, planned.config, bundle),
        audit=audit,
        output=planned.output,
    )


def _points(test: MeasuredSet, config: EvaluateConfig, bundle: Bundle) -> dict[str, Any]:
    """Operating points and PPV and NPV by prevalence, as far as requested, for two classes."""
    if bundle.positive is None:
        return {}
    scores = prediction_metrics.probabilities(test.scored, bundle)[:, 0]
    positive = np.asarray(pc.equal(test.scored["label"], bundle.positive))
    has_intervals = config.resamples and not test.bootstrap.refused
    groups = test.bootstrap.group_of if has_intervals else None
    found = {
        "operating_points": operating_points.operating_points(config.at, scores, positive, groups)
    }
    if config.prevalence is None:
        return found
    called = scores >= bundle.threshold
    curve = operating_points.prevalence_curve(called, positive, groups, [config.prevalence])
    return {**found, "prevalence_curve": curve}


def _facts(measured_set: MeasuredSet, bundle: Bundle) -> dict[str, Any]:
    """The fields that every set has."""
    labelled, scored = measured_set.labelled, measured_set.scored
    measured = measured_set.measured
    counts = dict(Counter(scored["label"].to_pylist()).most_common())
    return {
        "num_images": scored.num_rows,
        "num_groups": len(set(measured_set.bootstrap.groups)),
        "num_failed": measured_set.predictions.num_rows - scored.num_rows,
        "num_unlabelled": labelled.num_unlabelled,
        "counts": counts,
        "metrics": measured.values,
        "intervals": measured.intervals,
        "no_intervals": measured.no_intervals,
        "undefined": measured.undefined,
        "confusion": measured.confusion,
        "warning": labelled.warning,
        "alarms": alarms.of_result(
            measured,
            counts=counts,
            positive=bundle.positive,
            probabilities=prediction_metrics.probabilities(scored, bundle),
            validation=bundle.metrics,
        ),
    }


def _beside_file(index: int) -> str:
    return f"beside/part-{index:05d}.parquet"
