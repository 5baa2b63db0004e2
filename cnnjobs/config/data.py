"""The settings of jobs that list, inspect and fetch images."""

from dataclasses import dataclass

from cnnjobs.config import checks
from cnnjobs.config.constants import MAX_BYTES
from cnnjobs.config.images import ImageSettings
from cnnjobs.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class IndexConfig(ImageSettings):
    """Settings of `cnnjobs index`."""

    sources: tuple[str, ...]
    output: str
    labels: bool = True
    groups: str | None = None
    group_regex: str | None = None
    group_key: str | None = None
    source_regex: str | None = None
    any_modality: bool = False
    max_bytes: int = MAX_BYTES
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
            checks.regex("group_regex", self.group_regex, captures="patient")
        if self.source_regex is not None:
            checks.regex("source_regex", self.source_regex, captures="source")
        checks.at_least("max_bytes", self.max_bytes, 1)
        checks.fraction("validation", self.validation)
        checks.fraction("test", self.test)
        if self.validation + self.test >= 1:
            raise ConfigError(
                "validation and test must leave images to train on (together below 1), "
                f"got {self.validation} and {self.test}."
            )
        checks.at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class InspectConfig(ImageSettings):
    """Settings of `cnnjobs inspect`; `plot` is a file for one image, a directory for many."""

    data: str
    plot: str | None = None
    max_bytes: int = MAX_BYTES
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least("max_bytes", self.max_bytes, 1)
        checks.at_least("seed", self.seed, 0)


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
        checks.choice("dataset", self.dataset, ("mnist", "covid"))
        if self.validation is not None:
            checks.fraction("validation", self.validation)
            # index uses 0.15 of covid for the test split
            if self.dataset == "covid" and self.validation >= 0.85:
                raise ConfigError(f"validation of covid must be below 0.85, got {self.validation}.")
        if self.limit is not None:
            if self.dataset != "mnist":
                raise ConfigError(f"limit is only for mnist, got {self.limit} for {self.dataset}.")
            # with fewer, a class of the test set would have no image
            checks.at_least("limit", self.limit, 100)
        checks.at_least("seed", self.seed, 0)
