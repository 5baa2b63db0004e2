"""The jobs as Python functions: `cnnjobs.train(data=..., output=...)`.

Each takes the settings of its config as keyword arguments, or the config itself, and returns a
summary. What a job imports is imported when it is called.
"""

import dataclasses
import functools
import inspect as signatures
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

from cnnjobs.config import (
    AnyConfig,
    AuditConfig,
    CompareConfig,
    Config,
    CrossvalConfig,
    EvaluateConfig,
    ExplainConfig,
    IndexConfig,
    InspectConfig,
    PredictConfig,
    PredictOneConfig,
    ReportConfig,
    TrainConfig,
    TuneConfig,
    names,
)
from cnnjobs.config.files import resolve
from cnnjobs.progress import Progress, showing

if TYPE_CHECKING:
    from cnnjobs.data.index import IndexSummary
    from cnnjobs.data.inspect import DataSummary, ImageSummary
    from cnnjobs.evaluation.audit import AuditSummary
    from cnnjobs.evaluation.compare import CompareSummary
    from cnnjobs.evaluation.evaluate_summary import EvaluateSummary
    from cnnjobs.evaluation.explain import ExplainSummary
    from cnnjobs.inference.predict import PredictSummary
    from cnnjobs.inference.predict_one import PredictOneSummary
    from cnnjobs.reporting.report import ReportSummary
    from cnnjobs.training.crossval import CrossvalSummary
    from cnnjobs.training.train import TrainSummary
    from cnnjobs.training.tune import TuneSummary

P = ParamSpec("P")
ConfigOfJob = TypeVar("ConfigOfJob", bound=Config, contravariant=True)
Summary = TypeVar("Summary", covariant=True)


class Job(Protocol[P, ConfigOfJob, Summary]):
    """A job as a function."""

    @overload
    def __call__(self, config: ConfigOfJob, /, *, progress: bool | Progress = True) -> Summary: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Summary: ...


def job(
    keywords: Callable[P, Any], kind: type[AnyConfig]
) -> Callable[[Callable[[AnyConfig, Progress], Summary]], Job[P, AnyConfig, Summary]]:
    """Make a function of a job that takes `keywords`, or a config of `kind`."""
    parameters = signatures.signature(keywords).parameters
    order = [*names(kind), "progress"]
    signature = signatures.Signature([parameters[name] for name in order])

    def decorate(
        run: Callable[[AnyConfig, Progress], Summary],
    ) -> Job[P, AnyConfig, Summary]:
        def call(*configs: Any, **settings: Any) -> Summary:
            progress = settings.pop("progress", True)
            if configs:
                config = _only_config(kind, configs, settings)
            else:
                signature.bind(**settings)
                config = resolve(kind, {key: _plain(kind, key, settings[key]) for key in settings})
            # imported here: `import cnnjobs` is to stay light
            from cnnjobs.cluster import presence

            presence.before_ray(getattr(config, "address", None))
            with showing(progress) as report:
                return run(config, report)

        functools.update_wrapper(call, run)
        call.__signature__ = signature.replace(  # type: ignore[attr-defined]
            return_annotation=run.__annotations__["return"]
        )
        return cast("Job[P, AnyConfig, Summary]", call)

    return decorate


def _only_config(kind: type[AnyConfig], configs: tuple[Any, ...], settings: Any) -> AnyConfig:
    if len(configs) > 1 or settings or not isinstance(configs[0], kind):
        raise TypeError(f"expected keyword arguments, or one {kind.__name__} in their place")
    return configs[0]


def _plain(kind: type[Any], name: str, value: Any) -> Any:
    """A setting as its config holds it: text for a path, a tuple for a list."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    types = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    if types.get(name, "").startswith("tuple"):
        several = [value] if isinstance(value, str) else value or ()
        return tuple(os.fspath(each) for each in several)
    return value


@dataclass(frozen=True, kw_only=True)
class _Shown:
    progress: bool | Progress = True


@dataclass(frozen=True, kw_only=True)
class _Index(IndexConfig, _Shown): ...


@job(_Index, IndexConfig)
def index(config: IndexConfig, progress: Progress) -> "IndexSummary":
    """List, label, group and split the images of folders or S3 prefixes into a manifest.

    Raises:
        RunExistsError: the manifest exists and `overwrite` is off.
        InputError: there are no images, a group is missing, or a class has too few groups.
    """
    from cnnjobs.data import index as module

    return module.index(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Inspect(InspectConfig, _Shown): ...


@job(_Inspect, InspectConfig)
def inspect(config: InspectConfig, progress: Progress) -> "ImageSummary | DataSummary":
    """Look at one image (an ImageSummary), or at a data set before training on it (a DataSummary).

    Raises:
        InputError: the data does not exist, no image can be read, or a plot cannot be written.
    """
    from cnnjobs.data import inspect as module

    return module.inspect(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Train(TrainConfig, _Shown): ...


@job(_Train, TrainConfig)
def train(config: TrainConfig, progress: Progress) -> "TrainSummary":
    """Train a model on the train split; `output` gets its bundle, history and learning curves.

    Raises:
        InputError: the model is unknown, a class has no training images, or the output is in use.
        TrainingError: training failed, for example because the loss is not a number.
    """
    from cnnjobs.training import train as module

    return module.train(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Tune(TuneConfig, _Shown): ...


@job(_Tune, TuneConfig)
def tune(config: TuneConfig, progress: Progress) -> "TuneSummary":
    """Search for settings of a training; `output` gets the best trial's bundle.

    Raises:
        InputError: as of `train`, or the search space cannot be used.
        TrainingError: no trial finished.
    """
    from cnnjobs.training import tune as module

    return module.tune(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Crossval(CrossvalConfig, _Shown): ...


@job(_Crossval, CrossvalConfig)
def crossval(config: CrossvalConfig, progress: Progress) -> "CrossvalSummary":
    """Train and test on folds, and with `leave_out="source"` also without each source.

    Raises:
        InputError: as of `train`, or there are too few groups or sources.
        TrainingError: a training failed.
    """
    from cnnjobs.training import crossval as module

    return module.crossval(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Evaluate(EvaluateConfig, _Shown): ...


@job(_Evaluate, EvaluateConfig)
def evaluate(config: EvaluateConfig, progress: Progress) -> "EvaluateSummary":
    """Score a labelled split and compare the predictions with its labels.

    Raises:
        InputError: there are no labels, the model does not know them or was trained on these
            images, or the output is in use.
    """
    from cnnjobs.evaluation import evaluate as module

    return module.evaluate(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Compare(CompareConfig, _Shown): ...


@job(_Compare, CompareConfig)
def compare(config: CompareConfig, progress: Progress) -> "CompareSummary":
    """Compare models on the same images, from runs of `evaluate` or `predict`.

    Raises:
        InputError: a run cannot be read or has no labels, or the runs differ in their images,
            labels or classes.
    """
    from cnnjobs.evaluation import compare as module

    return module.compare(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Audit(AuditConfig, _Shown): ...


@job(_Audit, AuditConfig)
def audit(config: AuditConfig, progress: Progress) -> "AuditSummary":
    """Measure how much of a model's score survives without the lungs.

    Raises:
        InputError: as of `evaluate`, or the model has more than two classes.
    """
    from cnnjobs.evaluation import audit as module

    return module.audit(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Explain(ExplainConfig, _Shown): ...


@job(_Explain, ExplainConfig)
def explain(config: ExplainConfig, progress: Progress) -> "ExplainSummary":
    """Draw where the model looks in single images (Grad-CAM).

    Raises:
        InputError: the bundle cannot be used, or the output cannot be written.
    """
    from cnnjobs.evaluation import explain as module

    return module.explain(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Predict(PredictConfig, _Shown): ...


@job(_Predict, PredictConfig)
def predict(config: PredictConfig, progress: Progress) -> "PredictSummary":
    """Score every image of an archive to Parquet; `read_predictions(output)` reads the table.

    Raises:
        InputError: the bundle, the data or the output cannot be used.
        TooManyBadImages: more images failed than `max_errors` allows; every finished row is
            written, and the error has the `summary`.
    """
    from cnnjobs.inference import predict as module

    summary = module.predict(config, progress)
    module.judge(summary)
    return summary


@dataclass(frozen=True, kw_only=True)
class _PredictOne(PredictOneConfig, _Shown): ...


@job(_PredictOne, PredictOneConfig)
def predict_one(config: PredictOneConfig, progress: Progress) -> "PredictOneSummary":
    """Score single images in this process, without Ray. For arrays see `Bundle.predict`.

    Raises:
        InputError: the bundle cannot be used, or the plot cannot be written.
    """
    from cnnjobs.inference import predict_one as module

    return module.predict_one(config, progress)


@dataclass(frozen=True, kw_only=True)
class _Report(ReportConfig, _Shown): ...


@job(_Report, ReportConfig)
def report(config: ReportConfig, progress: Progress) -> "ReportSummary":
    """Write one HTML page of what the runs of a model left.

    Raises:
        RunExistsError: the page exists and `overwrite` is off.
        InputError: a run cannot be read, or the runs are of several models.
    """
    from cnnjobs.cli.command_line import command_line
    from cnnjobs.reporting import report as module

    return module.report(config, progress, spell=command_line)
