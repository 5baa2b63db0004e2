"""The settings of jobs that train."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from cnnjobs.config import checks
from cnnjobs.config.images import ImageSettings
from cnnjobs.config.recipes import RECIPES
from cnnjobs.config.urls import Settings
from cnnjobs.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ImageSettings):
    """Settings of `cnnjobs train`; the defaults are those of the lab sheet.

    `recipe` records which recipe `config.files.resolve` took unspecified settings from; on its own
    it has no effect.
    """

    data: str
    output: str
    recipe: str = "plain"
    model: str = "covid"
    weights: str | None = None
    init: str | None = None
    freeze: str | None = None
    unfreeze_at: int | None = None
    unfreeze_learning_rate: float | None = None
    crop: float = 0.0
    mask_corners: float = 0.0
    equalize: bool = False
    augment: str = "off"
    positive: str | None = None
    epochs: int = 10
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 0.001
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float | None = None
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    class_weight: str | None = None
    balance: str | None = None
    early_stopping: int | None = None
    monitor: str = "val_loss"
    keep: str = "last"
    threshold_rule: str = "0.5"
    calibrate: bool = False
    workers: int = 1
    gpus_per_worker: int | None = None
    mixed_precision: bool = False
    jit: bool = False
    deterministic: bool = False
    cache: str = "auto"
    max_failures: int = 2
    mlflow: str | None = None
    figures: str = "png"
    seed: int = 0
    address: str | None = None
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("recipe", self.recipe, tuple(RECIPES))
        checks.figures(self.figures)
        checks.at_least("epochs", self.epochs, 1)
        checks.at_least("batch_size", self.batch_size, 1)
        checks.above_0("learning_rate", self.learning_rate)
        for name in ("crop", "mask_corners"):
            checks.below_half(name, getattr(self, name))
        checks.choice("schedule", self.schedule, ("constant", "cosine", "plateau"))
        self._check_transfer()
        self._check_optimizer()
        if self.clip_norm is not None:
            checks.above_0("clip_norm", self.clip_norm)
        if self.class_weight is not None:
            checks.choice("class_weight", self.class_weight, ("balanced",))
        if self.balance is not None:
            checks.choice("balance", self.balance, ("source",))
        if self.early_stopping is not None:
            checks.at_least("early_stopping", self.early_stopping, 1)
        checks.choice("monitor", self.monitor, ("val_loss", "val_accuracy", "val_auroc"))
        checks.choice("keep", self.keep, ("last", "best"))
        checks.threshold_rule(self.threshold_rule)
        checks.at_least("workers", self.workers, 1)
        if self.gpus_per_worker not in (None, 0, 1):
            raise ConfigError(
                f"gpus_per_worker must be 0 or 1, got {self.gpus_per_worker}; for more GPUs "
                "ask for more workers."
            )
        checks.choice("augment", self.augment, ("off", "light", "strong"))
        if self.augment != "off" and self.jit:
            raise ConfigError("augment and jit cannot be given together: XLA cannot rotate images.")
        checks.choice("cache", self.cache, ("auto", "memory", "stream"))
        checks.at_least("max_failures", self.max_failures, 0)
        checks.at_least("seed", self.seed, 0)
        if self.resume and self.overwrite:
            raise ConfigError("resume and overwrite cannot be given together; choose one.")

    def _check_transfer(self) -> None:
        if self.init is not None and self.weights is not None:
            raise ConfigError("init and weights cannot be given together; choose one.")
        if self.freeze is not None:
            checks.choice("freeze", self.freeze, ("backbone",))
        if self.unfreeze_at is not None:
            if self.freeze is None:
                raise ConfigError("unfreeze_at needs freeze backbone; give both, or neither.")
            if not 2 <= self.unfreeze_at <= self.epochs:
                raise ConfigError(
                    f"unfreeze_at must be from 2 to epochs ({self.epochs}), got "
                    f"{self.unfreeze_at}; it is the first epoch that trains all layers."
                )
        if self.unfreeze_learning_rate is not None:
            checks.above_0("unfreeze_learning_rate", self.unfreeze_learning_rate)
            if self.unfreeze_at is None:
                raise ConfigError("unfreeze_learning_rate needs unfreeze_at; give both.")

    def _check_optimizer(self) -> None:
        checks.choice("optimizer", self.optimizer, ("adam", "adamw", "sgd"))
        checks.at_least("warmup", self.warmup, 0)
        if self.warmup >= self.epochs:
            raise ConfigError(
                f"warmup must be below epochs ({self.epochs}), got {self.warmup}; the rate is "
                "reached only after it."
            )
        if self.unfreeze_at is not None:
            shortest = min(self.unfreeze_at - 1, self.epochs - self.unfreeze_at + 1)
            if self.warmup >= shortest:
                raise ConfigError(
                    f"warmup must be below {shortest}, the epochs before or after unfreeze_at, got "
                    f"{self.warmup}; the rate warms up again when all layers train."
                )
        if self.warmup and self.schedule == "plateau":
            raise ConfigError(
                "warmup and schedule plateau cannot be given together: both set the rate; choose "
                "constant or cosine."
            )
        if self.weight_decay is not None:
            checks.fraction("weight_decay", self.weight_decay)
            if self.optimizer == "adam":
                raise ConfigError(
                    f"weight_decay is for optimizer adamw or sgd, got {self.weight_decay} with "
                    "adam; adamw is Adam with weight decay."
                )
        checks.fraction("label_smoothing", self.label_smoothing)

    @property
    def uses_monitor(self) -> bool:
        """Whether anything depends on the monitored metric."""
        return self.early_stopping is not None or self.keep == "best" or self.schedule == "plateau"

    @property
    def decides_on_validation(self) -> bool:
        """Whether the threshold or the temperature is chosen on the validation split."""
        return self.calibrate or self.threshold_rule.startswith(("youden", "sensitivity"))


@dataclass(frozen=True, kw_only=True)
class CrossvalConfig(TrainConfig):
    """Settings of `cnnjobs crossval`: those of each training, and how the data are divided.

    `validation` is the share of the images outside the test fold that chooses epoch and threshold.
    With `parallel` None, as many folds are trained at once as there are GPUs, or else CPUs.
    """

    folds: int = 5
    repeats: int = 1
    leave_out: str | None = None
    validation: float = 0.15
    parallel: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.leave_out is not None:
            checks.choice("leave_out", self.leave_out, ("source",))
        if self.folds < 2 and not (self.folds == 0 and self.leave_out is not None):
            raise ConfigError(
                f"folds must be at least 2 (or 0 with leave_out, for that alone), got {self.folds}."
            )
        checks.at_least("repeats", self.repeats, 1)
        checks.fraction("validation", self.validation)
        if self.parallel is not None:
            checks.at_least("parallel", self.parallel, 1)
        for name in ("workers", "cache", "mlflow"):
            if getattr(self, name) != getattr(TrainConfig, name):
                raise ConfigError(
                    f"{name} is only for train, got {getattr(self, name)}: crossval decodes the "
                    "images once and trains each fold in one process; leave it out."
                )


@dataclass(frozen=True, kw_only=True)
class TuneConfig(ImageSettings):
    """Settings of `cnnjobs tune`; those shared by all trials are named as in `TrainConfig`."""

    data: str
    output: str
    space: str
    trials: int = 10
    parallel: int = 1
    grace: int = 1
    monitor: str | None = None
    recipe: str = TrainConfig.recipe
    model: str = TrainConfig.model
    weights: str | None = TrainConfig.weights
    init: str | None = TrainConfig.init
    freeze: str | None = TrainConfig.freeze
    unfreeze_at: int | None = TrainConfig.unfreeze_at
    unfreeze_learning_rate: float | None = TrainConfig.unfreeze_learning_rate
    crop: float = TrainConfig.crop
    mask_corners: float = TrainConfig.mask_corners
    equalize: bool = TrainConfig.equalize
    augment: str = TrainConfig.augment
    positive: str | None = TrainConfig.positive
    epochs: int = TrainConfig.epochs
    batch_size: int = TrainConfig.batch_size
    optimizer: str = TrainConfig.optimizer
    learning_rate: float = TrainConfig.learning_rate
    schedule: str = TrainConfig.schedule
    warmup: int = TrainConfig.warmup
    weight_decay: float | None = TrainConfig.weight_decay
    label_smoothing: float = TrainConfig.label_smoothing
    clip_norm: float | None = TrainConfig.clip_norm
    class_weight: str | None = TrainConfig.class_weight
    balance: str | None = TrainConfig.balance
    early_stopping: int | None = TrainConfig.early_stopping
    gpus_per_worker: int | None = TrainConfig.gpus_per_worker
    mixed_precision: bool = TrainConfig.mixed_precision
    jit: bool = TrainConfig.jit
    deterministic: bool = TrainConfig.deterministic
    seed: int = TrainConfig.seed
    address: str | None = TrainConfig.address
    resume: bool = TrainConfig.resume
    overwrite: bool = TrainConfig.overwrite

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least("trials", self.trials, 1)
        checks.at_least("parallel", self.parallel, 1)
        checks.at_least("grace", self.grace, 1)
        self.of_a_trial()
        if self.grace > self.epochs:
            raise ConfigError(
                f"grace must be at most epochs ({self.epochs}), got {self.grace}; every trial "
                "trains so many epochs before it may be stopped."
            )

    def of_a_trial(self, **settings: Any) -> TrainConfig:
        """The settings of one trial: the shared ones, overridden by its own.

        The bundle of a trial is taken from its best epoch, by which trials are compared.
        """
        names = {field.name for field in dataclasses.fields(TrainConfig)}
        shared = {key: value for key, value in dataclasses.asdict(self).items() if key in names}
        shared["monitor"] = self.monitor or "val_accuracy"
        return TrainConfig(**{**shared, "keep": "best", **settings})


@dataclass(frozen=True, kw_only=True)
class ImportXrvConfig(Settings):
    """Settings of `cnnjobs import xrv`."""

    model: str
    output: str
