"""Train a CNN on chest X-rays and score archives of them, on a laptop or a Ray cluster.

In Python, `import cnnjobs` offers the jobs of the command line as functions, and `Manifest`,
`Bundle` and `read_predictions`: docs/python.md. Everything is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnjobs.api import (
        audit,
        compare,
        crossval,
        evaluate,
        explain,
        index,
        inspect,
        predict,
        predict_one,
        report,
        train,
        tune,
    )
    from cnnjobs.config import (
        AuditConfig,
        CompareConfig,
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
    )
    from cnnjobs.data.index import IndexSummary
    from cnnjobs.data.inspect import DataSummary, ImageSummary
    from cnnjobs.data.manifest import Manifest
    from cnnjobs.errors import (
        BundleError,
        CnnjobsError,
        ConfigError,
        ImageError,
        InputError,
        ManifestError,
        RunExistsError,
        StorageError,
        TooManyBadImages,
        TrainingError,
    )
    from cnnjobs.evaluation.audit import AuditSummary
    from cnnjobs.evaluation.compare import CompareSummary
    from cnnjobs.evaluation.evaluate_summary import EvaluateSummary
    from cnnjobs.evaluation.explain import ExplainSummary
    from cnnjobs.inference.bundle import Bundle
    from cnnjobs.inference.predict import PredictSummary
    from cnnjobs.inference.predict_one import (
        BinaryPrediction,
        MulticlassPrediction,
        PredictOneSummary,
    )
    from cnnjobs.inference.prediction_table import read_predictions
    from cnnjobs.progress import Progress
    from cnnjobs.reporting.report import ReportSummary
    from cnnjobs.training.crossval import CrossvalSummary
    from cnnjobs.training.train import TrainSummary
    from cnnjobs.training.tune import TuneSummary

    __version__: str

__all__ = [
    "AuditConfig",
    "AuditSummary",
    "BinaryPrediction",
    "Bundle",
    "BundleError",
    "CnnjobsError",
    "CompareConfig",
    "CompareSummary",
    "ConfigError",
    "CrossvalConfig",
    "CrossvalSummary",
    "DataSummary",
    "EvaluateConfig",
    "EvaluateSummary",
    "ExplainConfig",
    "ExplainSummary",
    "ImageError",
    "ImageSummary",
    "IndexConfig",
    "IndexSummary",
    "InputError",
    "InspectConfig",
    "Manifest",
    "ManifestError",
    "MulticlassPrediction",
    "PredictConfig",
    "PredictOneConfig",
    "PredictOneSummary",
    "PredictSummary",
    "Progress",
    "ReportConfig",
    "ReportSummary",
    "RunExistsError",
    "StorageError",
    "TooManyBadImages",
    "TrainConfig",
    "TrainSummary",
    "TrainingError",
    "TuneConfig",
    "TuneSummary",
    "__version__",
    "audit",
    "compare",
    "crossval",
    "evaluate",
    "explain",
    "index",
    "inspect",
    "predict",
    "predict_one",
    "read_predictions",
    "report",
    "train",
    "tune",
]

#: Where each name that is neither a job nor a config nor an error comes from.
_MODULES = {
    "AuditSummary": "evaluation.audit",
    "BinaryPrediction": "inference.predict_one",
    "Bundle": "inference.bundle",
    "CompareSummary": "evaluation.compare",
    "CrossvalSummary": "training.crossval",
    "DataSummary": "data.inspect",
    "EvaluateSummary": "evaluation.evaluate_summary",
    "ExplainSummary": "evaluation.explain",
    "ImageSummary": "data.inspect",
    "IndexSummary": "data.index",
    "Manifest": "data.manifest",
    "MulticlassPrediction": "inference.predict_one",
    "PredictOneSummary": "inference.predict_one",
    "PredictSummary": "inference.predict",
    "Progress": "progress",
    "ReportSummary": "reporting.report",
    "TooManyBadImages": "errors",
    "TrainSummary": "training.train",
    "TuneSummary": "training.tune",
    "read_predictions": "inference.prediction_table",
}


# a type checker would take any name for one of the module's
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'cnnjobs' has no attribute {name!r}")
        value = _version() if name == "__version__" else getattr(_module_of(name), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _module_of(name: str) -> Any:
    if name.endswith("Config"):
        home = "config"
    elif name.endswith("Error"):
        home = "errors"
    else:
        home = _MODULES.get(name, "api")
    return import_module(f"cnnjobs.{home}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("cnnjobs")
    except PackageNotFoundError:
        # a working directory sent to a cluster is imported without being installed
        return "0+unknown"
