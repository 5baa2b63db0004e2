"""The settings of jobs that score images or report on scores."""

import re
from dataclasses import dataclass

from cnnjobs.config import checks
from cnnjobs.config.constants import MAX_BYTES, SPLITS
from cnnjobs.config.images import ImageSettings
from cnnjobs.config.s3 import S3Settings
from cnnjobs.errors import ConfigError

ENGINES = ("auto", "openvino", "keras")
PRECISIONS = ("fp32", "bf16", "int8")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ImageSettings):
    """Settings of `cnnjobs evaluate`; `beside` are further sets to test the model on.

    `by` breaks the metrics down by columns of the manifest, `at` states sensitivities and
    specificities whose thresholds are reported.
    """

    bundle: str
    data: str
    output: str | None = None
    split: str = "test"
    beside: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    at: tuple[str, ...] = ()
    prevalence: float | None = None
    resamples: int = 1000
    seed: int = 0
    engine: str = "auto"
    batch_size: int = 32
    address: str | None = None
    audit: bool = True
    figures: str = "png"
    overwrite: bool = False
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.figures(self.figures)
        checks.digests("expect", self.expect)
        checks.choice("split", self.split, (*SPLITS, "all"))
        if self.prevalence is not None and not 0 < self.prevalence < 1:
            raise ConfigError(f"prevalence must be above 0 and below 1, got {self.prevalence}.")
        for each in self.at:
            match = re.fullmatch(r"(?:sensitivity|specificity)=(0?\.\d+|1(?:\.0+)?)", each)
            if match is None or not float(match[1]):
                raise ConfigError(
                    "at must be sensitivity=SHARE or specificity=SHARE, with a share above 0 and "
                    f"at most 1, got {each}."
                )
        checks.resamples(self.resamples)
        checks.at_least("seed", self.seed, 0)
        checks.choice("engine", self.engine, ENGINES)
        checks.at_least("batch_size", self.batch_size, 1)


@dataclass(frozen=True, kw_only=True)
class CompareConfig(S3Settings):
    """Settings of `cnnjobs compare`."""

    runs: tuple[str, ...]
    output: str | None = None
    shared: bool = False
    resamples: int = EvaluateConfig.resamples
    seed: int = EvaluateConfig.seed

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.runs) < 2:
            raise ConfigError(f"compare needs at least two runs, got {len(self.runs)}.")
        checks.resamples(self.resamples)
        checks.at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class AuditConfig(ImageSettings):
    """Settings of `cnnjobs audit`."""

    bundle: str
    data: str
    output: str | None = None
    split: str = "test"
    border: float = 0.125
    resamples: int = 1000
    seed: int = 0
    engine: str = "auto"
    batch_size: int = 32
    figures: str = "png"
    overwrite: bool = False
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.figures(self.figures)
        checks.digests("expect", self.expect)
        checks.choice("split", self.split, (*SPLITS, "all"))
        if not 0 < self.border < 0.5:
            raise ConfigError(f"border must be above 0 and below 0.5, got {self.border}.")
        if self.resamples < 100:
            raise ConfigError(
                "resamples must be at least 100: fewer have no 2.5% quantile, "
                f"got {self.resamples}."
            )
        checks.at_least("seed", self.seed, 0)
        checks.choice("engine", self.engine, ENGINES)
        checks.at_least("batch_size", self.batch_size, 1)


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig(ImageSettings):
    """Settings of `cnnjobs quantize`; `calibration_images` are drawn from the training split."""

    bundle: str
    data: str
    split: str = "test"
    calibration_images: int = 300
    max_auroc_drop: float = 0.005
    resamples: int = 1000
    seed: int = 0
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.digests("expect", self.expect)
        checks.choice("split", self.split, (*SPLITS, "all"))
        checks.at_least("calibration_images", self.calibration_images, 1)
        if not 0 <= self.max_auroc_drop <= 1:
            raise ConfigError(f"max_auroc_drop must be from 0 to 1, got {self.max_auroc_drop}.")
        checks.resamples(self.resamples)
        checks.at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(ImageSettings):
    """Settings of `cnnjobs predict`; the scores of `bundles` are averaged with those of `bundle`.

    Rows are committed in files of `rows_per_file`, which bounds the work a stopped run repeats.
    """

    bundle: str
    data: str
    output: str
    bundles: tuple[str, ...] = ()
    split: str = "all"
    engine: str = "auto"
    precision: str = "fp32"
    batch_size: int = 32
    damaged: str = "error"
    any_modality: bool = False
    max_pixels: int | None = None
    max_bytes: int = MAX_BYTES
    image_timeout: float = 300.0
    rows_per_file: int = 4096
    partition_by: str | None = None
    csv: bool = False
    metrics_file: str | None = None
    require_evaluated: bool = False
    require_external: bool = False
    max_errors: str | None = None
    price_per_hour: float | None = None
    actors: int | None = None
    cpus_per_actor: int | None = None
    gpus_per_actor: float | None = None
    address: str | None = None
    resume: bool = False
    update: bool = False
    gone: str = "keep"
    overwrite: bool = False
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.digests("expect", self.expect)
        checks.choice("split", self.split, (*SPLITS, "all"))
        checks.choice("engine", self.engine, ENGINES)
        checks.choice("precision", self.precision, PRECISIONS)
        if self.engine == "keras" and self.precision != "fp32":
            raise ConfigError(
                f"precision {self.precision} needs the engine openvino, got keras; omit --engine."
            )
        checks.at_least("batch_size", self.batch_size, 1)
        checks.choice("damaged", self.damaged, ("error", "score"))
        if self.max_pixels is not None:
            checks.at_least("max_pixels", self.max_pixels, 1)
        checks.at_least("max_bytes", self.max_bytes, 1)
        checks.above_0("image_timeout", self.image_timeout)
        checks.at_least("rows_per_file", self.rows_per_file, 1)
        if self.partition_by is not None:
            checks.choice("partition_by", self.partition_by, ("label", "prefix"))
        if self.metrics_file is not None and (
            self.metrics_file.startswith("s3://") or not self.metrics_file.endswith(".prom")
        ):
            raise ConfigError(
                "metrics_file must be a local file whose name ends in .prom, because node_exporter "
                f"reads no other, got {self.metrics_file}."
            )
        if self.price_per_hour is not None:
            checks.above_0("price_per_hour", self.price_per_hour)
        if self.actors is not None:
            checks.at_least("actors", self.actors, 1)
        if self.cpus_per_actor is not None:
            checks.at_least("cpus_per_actor", self.cpus_per_actor, 1)
        if self.gpus_per_actor is not None and not 0 < self.gpus_per_actor <= 1:
            raise ConfigError(
                f"gpus_per_actor must be above 0 and at most 1, got {self.gpus_per_actor}; for "
                "more GPUs, request more actors."
            )
        ways = [name for name in ("resume", "update", "overwrite") if getattr(self, name)]
        if len(ways) > 1:
            raise ConfigError(f"{' and '.join(ways)} cannot be given together; choose one.")
        checks.choice("gone", self.gone, ("keep", "mark", "drop"))
        if self.gone != "keep" and not self.update:
            raise ConfigError(f"gone {self.gone} says what an update does; add --update.")
        self.max_bad_images(0)

    def max_bad_images(self, num_images: int) -> int | None:
        """How many of `num_images` may fail before the exit code is 3; None means any number."""
        if self.max_errors is None:
            return None
        return checks.amount("max_errors", self.max_errors, num_images)


@dataclass(frozen=True, kw_only=True)
class PredictOneConfig(S3Settings):
    """Settings of `cnnjobs predict-one`."""

    bundle: str
    images: tuple[str, ...]
    engine: str = "auto"
    damaged: str = "error"
    any_modality: bool = False
    max_bytes: int = MAX_BYTES
    explain_pixels: bool = False
    plot: str | None = None
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.digests("expect", self.expect)
        if not self.images:
            raise ConfigError("predict-one needs at least one image, got none.")
        checks.at_least("max_bytes", self.max_bytes, 1)
        checks.choice("engine", self.engine, ENGINES)
        checks.choice("damaged", self.damaged, ("error", "score"))


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(S3Settings):
    """Settings of `cnnjobs verify`."""

    run: str


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(S3Settings):
    """Settings of `cnnjobs explain`."""

    bundle: str
    images: tuple[str, ...]
    output: str
    max_bytes: int = MAX_BYTES
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.digests("expect", self.expect)
        checks.at_least("max_bytes", self.max_bytes, 1)
        if not self.images:
            raise ConfigError("explain needs at least one image, got none.")


@dataclass(frozen=True, kw_only=True)
class ReportConfig(S3Settings):
    """Settings of `cnnjobs report`."""

    runs: tuple[str, ...]
    output: str = "report.html"
    title: str | None = None
    card: str | None = None
    max_images: int = 5000
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.runs:
            raise ConfigError("report needs at least one run, got none.")
        checks.at_least("max_images", self.max_images, 0)
        checks.at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class BundleConfig(S3Settings):
    """Settings of `cnnjobs bundle show` and `bundle verify`."""

    bundle: str
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.digests("expect", self.expect)
