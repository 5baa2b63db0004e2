"""The settings of each job: one frozen dataclass a job, checked when it is made."""

import dataclasses
import difflib
import inspect
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import yaml

from cnnjobs.errors import ConfigError
from cnnjobs.words import SPLITS


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Settings of `cnnjobs index`."""

    sources: tuple[str, ...]
    output: str
    labels: bool = True
    groups: str | None = None
    group_regex: str | None = None
    split: bool = True
    validation: float = 0.15
    test: float = 0.15
    content: bool = True
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("index needs at least one folder or s3:// prefix, got none.")
        if self.groups is not None and self.group_regex is not None:
            raise ConfigError("groups and group_regex cannot be given together; choose one.")
        if self.group_regex is not None:
            _check_regex("group_regex", self.group_regex)
        _check_fraction("validation", self.validation)
        _check_fraction("test", self.test)
        if self.validation + self.test >= 1:
            raise ConfigError(
                "validation and test must leave images to train on (together below 1), "
                f"got {self.validation} and {self.test}."
            )
        _check_at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """Settings of `cnnjobs fetch`; `source` is what `--from` names."""

    dataset: str
    output: str
    source: str | None = None
    validation: float | None = None
    limit: int | None = None
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        _check_choice("dataset", self.dataset, ("mnist", "covid"))
        if self.validation is not None:
            _check_fraction("validation", self.validation)
            # 0.15 of covid are for the test, as index takes them
            if self.dataset == "covid" and self.validation >= 0.85:
                raise ConfigError(f"validation of covid must be below 0.85, got {self.validation}.")
        if self.limit is not None:
            if self.dataset != "mnist":
                raise ConfigError(f"limit is for mnist alone, got {self.limit} for {self.dataset}.")
            # fewer leave a class of the test part without an image
            _check_at_least("limit", self.limit, 100)
        _check_at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of `cnnjobs train`; the defaults are the lab sheet's."""

    data: str
    output: str
    model: str = "covid"
    weights: str | None = None
    augment: bool = False
    positive: str | None = None
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.001
    schedule: str = "constant"
    clip_norm: float | None = None
    class_weight: str | None = None
    early_stopping: int | None = None
    monitor: str = "val_loss"
    keep: str = "last"
    workers: int = 1
    gpus_per_worker: int | None = None
    mixed_precision: bool = False
    jit: bool = False
    cache: str = "auto"
    max_failures: int = 2
    mlflow: str | None = None
    seed: int = 0
    address: str | None = None
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        _check_at_least("epochs", self.epochs, 1)
        _check_at_least("batch_size", self.batch_size, 1)
        _check_above_0("learning_rate", self.learning_rate)
        _check_choice("schedule", self.schedule, ("constant", "cosine", "plateau"))
        if self.clip_norm is not None:
            _check_above_0("clip_norm", self.clip_norm)
        if self.class_weight is not None:
            _check_choice("class_weight", self.class_weight, ("balanced",))
        if self.early_stopping is not None:
            _check_at_least("early_stopping", self.early_stopping, 1)
        _check_choice("monitor", self.monitor, ("val_loss", "val_accuracy", "val_auroc"))
        _check_choice("keep", self.keep, ("last", "best"))
        _check_at_least("workers", self.workers, 1)
        if self.gpus_per_worker not in (None, 0, 1):
            raise ConfigError(
                f"gpus_per_worker must be 0 or 1, got {self.gpus_per_worker}; for more GPUs "
                "ask for more workers."
            )
        if self.augment and self.jit:
            raise ConfigError("augment and jit cannot be given together: XLA cannot rotate images.")
        _check_choice("cache", self.cache, ("auto", "memory", "stream"))
        _check_at_least("max_failures", self.max_failures, 0)
        _check_at_least("seed", self.seed, 0)
        if self.resume and self.overwrite:
            raise ConfigError("resume and overwrite cannot be given together; choose one.")


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Settings of `cnnjobs tune`; those that all trials share are named as in `TrainConfig`."""

    data: str
    output: str
    space: str
    trials: int = 10
    parallel: int = 1
    grace: int = 1
    monitor: str | None = None
    model: str = TrainConfig.model
    weights: str | None = TrainConfig.weights
    augment: bool = TrainConfig.augment
    positive: str | None = TrainConfig.positive
    epochs: int = TrainConfig.epochs
    batch_size: int = TrainConfig.batch_size
    learning_rate: float = TrainConfig.learning_rate
    schedule: str = TrainConfig.schedule
    clip_norm: float | None = TrainConfig.clip_norm
    class_weight: str | None = TrainConfig.class_weight
    early_stopping: int | None = TrainConfig.early_stopping
    gpus_per_worker: int | None = TrainConfig.gpus_per_worker
    mixed_precision: bool = TrainConfig.mixed_precision
    jit: bool = TrainConfig.jit
    seed: int = TrainConfig.seed
    address: str | None = TrainConfig.address
    overwrite: bool = TrainConfig.overwrite

    def __post_init__(self) -> None:
        _check_at_least("trials", self.trials, 1)
        _check_at_least("parallel", self.parallel, 1)
        _check_at_least("grace", self.grace, 1)
        self.of_a_trial()
        if self.grace > self.epochs:
            raise ConfigError(
                f"grace must be at most epochs ({self.epochs}), got {self.grace}; every trial "
                "trains so many epochs before it may be stopped."
            )

    def of_a_trial(self, **settings: Any) -> TrainConfig:
        """The settings of a training: those all trials share, and over them its own.

        The bundle of a trial is its best epoch, by which trials are compared.
        """
        names = {field.name for field in dataclasses.fields(TrainConfig)}
        shared = {key: value for key, value in dataclasses.asdict(self).items() if key in names}
        shared["monitor"] = self.monitor or "val_accuracy"
        return TrainConfig(**{**shared, "keep": "best", **settings})


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Settings of `cnnjobs evaluate`."""

    bundle: str
    data: str
    output: str | None = None
    split: str = "test"
    batch_size: int = 32
    address: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        _check_choice("split", self.split, (*SPLITS, "all"))
        _check_at_least("batch_size", self.batch_size, 1)


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Settings of `cnnjobs predict`."""

    bundle: str
    data: str
    output: str
    split: str = "all"
    batch_size: int = 32
    rows_per_file: int = 4096
    max_errors: str | None = None
    address: str | None = None
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        _check_choice("split", self.split, (*SPLITS, "all"))
        _check_at_least("batch_size", self.batch_size, 1)
        _check_at_least("rows_per_file", self.rows_per_file, 1)
        if self.resume and self.overwrite:
            raise ConfigError("resume and overwrite cannot be given together; choose one.")
        self.max_bad_images(0)

    def max_bad_images(self, num_images: int) -> int | None:
        """How many of `num_images` may fail before the exit code is 3; None: any number."""
        if self.max_errors is None:
            return None
        match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", str(self.max_errors).strip())
        if match is None or (match[2] and float(match[2]) > 100):
            raise ConfigError(
                "max_errors must be a number of images (25) or a share of them (0.5%), "
                f"got {self.max_errors}."
            )
        # in binary fractions 11000 * 0.7 / 100 is below 77
        return int(match[1]) if match[1] else int(num_images * Fraction(match[2]) / 100)


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of `cnnjobs demo`."""

    output: str = "cnnjobs-demo"
    num_images: int = 120
    epochs: int = 6
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        # fewer leave a class with too few images for three splits
        _check_at_least("num_images", self.num_images, 20)
        _check_at_least("epochs", self.epochs, 1)
        _check_at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class BenchTrainConfig:
    """Settings of `cnnjobs bench train`."""

    model: str = "covid"
    rows: int = 320
    epochs: int = 2
    batch_size: int = 32
    repeats: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        # fewer leave a class of ten without an image
        _check_at_least("rows", self.rows, 10)
        _check_at_least("epochs", self.epochs, 1)
        _check_at_least("batch_size", self.batch_size, 1)
        _check_at_least("repeats", self.repeats, 1)
        _check_at_least("seed", self.seed, 0)


#: A number that YAML 1.1 takes for text, though Python and JSON write it so.
_EXPONENT = re.compile(r"[-+]?\d+e[-+]?\d+", re.IGNORECASE)

Config = (
    IndexConfig
    | FetchConfig
    | TrainConfig
    | TuneConfig
    | EvaluateConfig
    | PredictConfig
    | DemoConfig
    | BenchTrainConfig
)
AnyConfig = TypeVar("AnyConfig", bound=Config)


def resolve(kind: type[AnyConfig], flags: dict[str, Any], file: Path | None = None) -> AnyConfig:
    """Make a config from a YAML file and flags; a flag wins over the file.

    Raises:
        ConfigError: the file cannot be read, or holds an unknown key or a value
            of another type than the setting's; or a setting without a default is missing.
    """
    settings = {**(_read(kind, file) if file is not None else {}), **flags}
    required = (field for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING)
    missing = [field.name for field in required if field.name not in settings]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} must be given, on the command line or in --config."
        )
    return kind(**settings)


def as_dict(config: Config) -> dict[str, Any]:
    """The settings as they are saved beside a job's output."""
    return dataclasses.asdict(config)


def read_yaml(file: Path) -> dict[str, Any]:
    """The `key: value` lines of a YAML file; none if it is empty.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not a YAML file: {_where_it_breaks(error)}.") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{file} must hold `setting: value` lines, got {_kind_of(settings)}.")
    return settings


def checked_key(file: Path, key: str, known: Collection[str]) -> str:
    """`key` if it is known; near ones are suggested in the ConfigError else."""
    if key in known:
        return key
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}."
    raise ConfigError(f"{file}: unknown key {key!r}; {hint}")


def checked_value(kind: type[AnyConfig], file: Path, key: str, value: Any) -> Any:
    """`value` as the type of the setting `key` of a config, or a ConfigError."""
    (field,) = (field for field in dataclasses.fields(kind) if field.name == key)
    return _checked(file, key, inspect.formatannotation(field.type), value)


def _read(kind: type[AnyConfig], file: Path) -> dict[str, Any]:
    settings = read_yaml(file)
    known = [field.name for field in dataclasses.fields(kind)]
    for name, value in settings.items():
        settings[name] = checked_value(kind, file, checked_key(file, str(name), known), value)
    return settings


def _where_it_breaks(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, {error.problem}"
    return str(error).splitlines()[0]


def _checked(file: Path, name: str, wanted: str, value: Any) -> Any:
    """`value` as the type that a field's annotation names, or a ConfigError."""
    if wanted.startswith("tuple") and isinstance(value, list):
        return tuple(str(item) for item in value)
    if value is None and wanted.endswith("| None"):
        return None
    kind = wanted.removesuffix(" | None")
    if name == "max_errors" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if kind == "float" and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    given = _kind_of(value)
    if kind == given or (kind == "float" and given == "int"):
        return float(value) if kind == "float" else value
    raise ConfigError(f"{file}: {name} must be {_a(kind)}, got {value!r}.")


def _kind_of(value: Any) -> str:
    return type(value).__name__


def _a(kind: str) -> str:
    names = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
    return names.get(kind, "a list")


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, got {value}.")


def _check_above_0(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be above 0, got {value}.")


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1, got {value}.")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value}.")


def _check_regex(name: str, value: str) -> None:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ConfigError(f"{name} is not a regular expression: {error}, got {value!r}.") from error
    if groups != 1:
        raise ConfigError(
            f"{name} must have one (group) that captures the patient, got {groups} in {value!r}."
        )
