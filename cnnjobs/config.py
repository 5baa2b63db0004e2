"""The settings of each job: one frozen dataclass a job, checked when it is made."""

import dataclasses
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from cnnjobs.errors import ConfigError
from cnnjobs.words import SPLITS

ENGINES = ("auto", "openvino", "keras")

#: What `cnnjobs bench predict` compares; see `bench.ways`.
SCORING_WAYS = ("notebook", "tf.data", "ray textbook", "ceiling", "cnnjobs predict")


@dataclass(frozen=True, kw_only=True)
class S3Settings:
    """Where S3 is and who asks, for every job that reads or writes; see `s3.use`.

    Keys never stand here: they come from AWS's own chain (environment, profile, role).
    """

    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_profile: str | None = None
    s3_anonymous: bool = False

    def __post_init__(self) -> None:
        if self.s3_anonymous and self.s3_profile is not None:
            raise ConfigError("s3_anonymous and s3_profile cannot be given together; choose one.")

    @property
    def s3(self) -> dict[str, Any]:
        """The settings as `s3.use` takes them."""
        return {
            field.name.removeprefix("s3_"): getattr(self, field.name)
            for field in dataclasses.fields(S3Settings)
        }


@dataclass(frozen=True, kw_only=True)
class IndexConfig(S3Settings):
    """Settings of `cnnjobs index`."""

    sources: tuple[str, ...]
    output: str
    labels: bool = True
    groups: str | None = None
    group_regex: str | None = None
    group_key: str | None = None
    any_modality: bool = False
    split: bool = True
    validation: float = 0.15
    test: float = 0.15
    content: bool = True
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
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
class InspectConfig(S3Settings):
    """Settings of `cnnjobs inspect`; `plot` is a file for one image, a directory for many."""

    data: str
    plot: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
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
class TrainConfig(S3Settings):
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
    threshold_rule: str = "0.5"
    calibrate: bool = False
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
        super().__post_init__()
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
        _check_threshold_rule(self.threshold_rule)
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

    @property
    def decides_on_validation(self) -> bool:
        """Whether threshold or temperature are chosen on the validation split."""
        return self.calibrate or self.threshold_rule.startswith(("youden", "sensitivity"))


@dataclass(frozen=True, kw_only=True)
class TuneConfig(S3Settings):
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
        super().__post_init__()
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
class EvaluateConfig(S3Settings):
    """Settings of `cnnjobs evaluate`."""

    bundle: str
    data: str
    output: str | None = None
    split: str = "test"
    prevalence: float | None = None
    resamples: int = 1000
    seed: int = 0
    engine: str = "auto"
    batch_size: int = 32
    address: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("split", self.split, (*SPLITS, "all"))
        if self.prevalence is not None and not 0 < self.prevalence < 1:
            raise ConfigError(f"prevalence must be above 0 and below 1, got {self.prevalence}.")
        if self.resamples and self.resamples < 100:
            raise ConfigError(
                "resamples must be 0 (no intervals) or at least 100: fewer have no 2.5 % quantile, "
                f"got {self.resamples}."
            )
        _check_at_least("seed", self.seed, 0)
        _check_choice("engine", self.engine, ENGINES)
        _check_at_least("batch_size", self.batch_size, 1)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(S3Settings):
    """Settings of `cnnjobs predict`; `bundles` are those whose scores are averaged with `bundle`'s.

    A run is committed in files of `rows_per_file` rows: what a stopped run has to do again.
    """

    bundle: str
    data: str
    output: str
    bundles: tuple[str, ...] = ()
    split: str = "all"
    engine: str = "auto"
    batch_size: int = 32
    damaged: str = "error"
    any_modality: bool = False
    max_pixels: int | None = None
    rows_per_file: int = 4096
    partition_by: str | None = None
    csv: bool = False
    max_errors: str | None = None
    price_per_hour: float | None = None
    address: str | None = None
    resume: bool = False
    update: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("split", self.split, (*SPLITS, "all"))
        _check_choice("engine", self.engine, ENGINES)
        _check_at_least("batch_size", self.batch_size, 1)
        _check_choice("damaged", self.damaged, ("error", "score"))
        if self.max_pixels is not None:
            _check_at_least("max_pixels", self.max_pixels, 1)
        _check_at_least("rows_per_file", self.rows_per_file, 1)
        if self.partition_by is not None:
            _check_choice("partition_by", self.partition_by, ("label", "prefix"))
        if self.price_per_hour is not None:
            _check_above_0("price_per_hour", self.price_per_hour)
        ways = [name for name in ("resume", "update", "overwrite") if getattr(self, name)]
        if len(ways) > 1:
            raise ConfigError(f"{' and '.join(ways)} cannot be given together; choose one.")
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
class PredictOneConfig(S3Settings):
    """Settings of `cnnjobs predict-one`."""

    bundle: str
    images: tuple[str, ...]
    engine: str = "auto"
    damaged: str = "error"
    any_modality: bool = False
    plot: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.images:
            raise ConfigError("predict-one needs at least one image, got none.")
        _check_choice("engine", self.engine, ENGINES)
        _check_choice("damaged", self.damaged, ("error", "score"))


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


@dataclass(frozen=True, kw_only=True)
class BenchPredictConfig:
    """Settings of `cnnjobs bench predict`; `data` None draws an archive of `rows` images.

    The ways are measured in their order, and compared with the first.
    """

    data: str | None = None
    ways: tuple[str, ...] = SCORING_WAYS
    model: str = "covid"
    rows: int = 2000
    side: int = 1000
    repeats: int = 3
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for way in self.ways:
            _check_choice("ways", way, SCORING_WAYS)
        _check_at_least("rows", self.rows, 1)
        _check_at_least("side", self.side, 64)
        _check_at_least("repeats", self.repeats, 1)
        _check_at_least("batch_size", self.batch_size, 1)
        _check_at_least("seed", self.seed, 0)


Config = (
    IndexConfig
    | InspectConfig
    | FetchConfig
    | TrainConfig
    | TuneConfig
    | EvaluateConfig
    | PredictConfig
    | PredictOneConfig
    | DemoConfig
    | BenchTrainConfig
    | BenchPredictConfig
)
AnyConfig = TypeVar("AnyConfig", bound=Config)


def names(kind: type[Any]) -> list[str]:
    """The names of a job's settings, its own before those of all that use S3."""
    shared = [field.name for field in dataclasses.fields(S3Settings)]
    every = [field.name for field in dataclasses.fields(kind)]
    return sorted(every, key=lambda name: name in shared)


def as_dict(config: Config) -> dict[str, Any]:
    """The settings as they are saved beside a job's output."""
    values = dataclasses.asdict(config)
    return {name: values[name] for name in names(type(config))}


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


def _check_threshold_rule(value: str) -> None:
    match = re.fullmatch(r"youden|(?:sensitivity=)?(\d*\.?\d+)", value)
    if match is None or (match[1] and not 0 < float(match[1]) < 1):
        raise ConfigError(
            "threshold_rule must be youden, sensitivity=S or a probability, both above 0 and "
            f"below 1, got {value}."
        )


def _check_regex(name: str, value: str) -> None:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ConfigError(f"{name} is not a regular expression: {error}, got {value!r}.") from error
    if groups != 1:
        raise ConfigError(
            f"{name} must have one (group) that captures the patient, got {groups} in {value!r}."
        )
