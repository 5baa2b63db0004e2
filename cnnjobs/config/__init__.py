"""The settings of each job: one frozen dataclass per job, validated when it is created."""

import dataclasses
from typing import Any, TypeVar

from cnnjobs.config.cluster import ClusterStartConfig, DoctorConfig, SubmitConfig
from cnnjobs.config.data import FetchConfig, IndexConfig, InspectConfig
from cnnjobs.config.demo import DemoConfig
from cnnjobs.config.export import ExportConfig
from cnnjobs.config.inference import (
    ENGINES,
    AuditConfig,
    BundleConfig,
    CompareConfig,
    EvaluateConfig,
    ExplainConfig,
    PredictConfig,
    PredictOneConfig,
    QuantizeConfig,
    ReportConfig,
    VerifyConfig,
)
from cnnjobs.config.s3 import S3Settings
from cnnjobs.config.training import CrossvalConfig, ImportXrvConfig, TrainConfig, TuneConfig

__all__ = [
    "ENGINES",
    "AnyConfig",
    "AuditConfig",
    "BundleConfig",
    "ClusterStartConfig",
    "CompareConfig",
    "Config",
    "CrossvalConfig",
    "DemoConfig",
    "DoctorConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "ExportConfig",
    "FetchConfig",
    "ImportXrvConfig",
    "IndexConfig",
    "InspectConfig",
    "PredictConfig",
    "PredictOneConfig",
    "QuantizeConfig",
    "ReportConfig",
    "S3Settings",
    "SubmitConfig",
    "TrainConfig",
    "TuneConfig",
    "VerifyConfig",
    "as_dict",
    "defaults",
    "names",
]

Config = (
    IndexConfig
    | InspectConfig
    | FetchConfig
    | TrainConfig
    | CrossvalConfig
    | TuneConfig
    | ImportXrvConfig
    | EvaluateConfig
    | CompareConfig
    | AuditConfig
    | PredictConfig
    | PredictOneConfig
    | QuantizeConfig
    | VerifyConfig
    | BundleConfig
    | ExplainConfig
    | ExportConfig
    | ReportConfig
    | DemoConfig
    | ClusterStartConfig
    | SubmitConfig
    | DoctorConfig
)
AnyConfig = TypeVar("AnyConfig", bound=Config)


def names(kind: type[Any]) -> list[str]:
    """The names of a job's settings; those shared by many jobs come last."""
    shared = ["exclude", "allowed_root", *(field.name for field in dataclasses.fields(S3Settings))]
    every = [field.name for field in dataclasses.fields(kind)]
    own = [name for name in every if name not in shared]
    return [*own, *(name for name in shared if name in every)]


def as_dict(config: Config) -> dict[str, Any]:
    """The settings as they are saved with a job's output."""
    values = dataclasses.asdict(config)
    return {name: values[name] for name in names(type(config))}


def defaults(kind: type[Any]) -> dict[str, Any]:
    """The settings of a job that have a default."""
    return {
        field.name: field.default
        for field in dataclasses.fields(kind)
        if field.default is not dataclasses.MISSING
    }
