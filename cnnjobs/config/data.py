"""The settings of jobs that list, inspect and fetch images."""

from dataclasses import dataclass

from cnnjobs.config import checks
from cnnjobs.config.constants import DICOM_KEYS, MAX_BYTES
from cnnjobs.config.images import ImageSettings
from cnnjobs.config.layouts import LAYOUTS
from cnnjobs.config.urls import Settings
from cnnjobs.errors import ConfigError

#: Settings of `index` that mean nothing without a table.
OF_TABLES = (
    *("layout", "path_column", "label_column", "group_column", "split_column", "source_column"),
    *("map", "where", "positive_when", "negative_when", "keep", "dicom_key"),
)


@dataclass(frozen=True, kw_only=True)
class IndexConfig(ImageSettings):
    """Settings of `cnnjobs index`."""

    sources: tuple[str, ...]
    output: str
    table: tuple[str, ...] = ()
    layout: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    split_column: str | None = None
    source_column: str | None = None
    map: tuple[str, ...] = ()
    where: str | None = None
    positive_when: str | None = None
    negative_when: str | None = None
    uncertain: str = "leave-out"
    keep: tuple[str, ...] = ()
    dicom_key: str | None = None
    max_unmatched: str = "10%"
    labels: bool = True
    groups: tuple[str, ...] = ()
    groups_missing: str = "error"
    group_regex: str | None = None
    group_key: str | None = None
    hash_paths: str | None = None
    source_regex: str | None = None
    any_modality: bool = False
    max_bytes: int = MAX_BYTES
    split: bool = True
    validation: float = 0.15
    test: float = 0.15
    content: bool = True
    seed: int = 0
    update: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups is None or isinstance(self.groups, str):
            # callers from when there could be only one file
            object.__setattr__(self, "groups", (self.groups,) if self.groups else ())
        if self.update and self.overwrite:
            raise ConfigError("update and overwrite cannot be given together; choose one.")
        if self.hash_paths is not None and (self.group_key is None or self.update):
            raise ConfigError(
                "hash_paths needs the key that hashes (--group-key FILE), and cannot be given with "
                "update."
            )
        if not self.sources:
            raise ConfigError("index needs at least one folder or s3:// prefix, got none.")
        self._check_tables()
        checks.choice("groups_missing", self.groups_missing, ("error", "own"))
        if self.groups and self.group_regex is not None:
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

    def _check_tables(self) -> None:
        given = [name for name in OF_TABLES if getattr(self, name) not in (None, ())]
        if given and not self.table:
            raise ConfigError(f"{given[0]} describes a table; add --table FILE.")
        if self.layout is not None:
            checks.choice("layout", self.layout, tuple(LAYOUTS))
        conditions = (self.positive_when, self.negative_when)
        if conditions.count(None) == 1:
            raise ConfigError(
                "positive_when and negative_when must be given together; what fulfils neither is "
                "left out."
            )
        checks.choice("uncertain", self.uncertain, ("leave-out", "negative", "positive"))
        for pair in self.map:
            if "=" not in pair:
                raise ConfigError(f"map must be OLD=NEW, got {pair}.")
        checks.renamed_once("map", (pair.rpartition("=")[::2] for pair in self.map))
        checks.renamed_once("keep", (pair.partition("=")[::2] for pair in self.keep))
        if self.dicom_key is not None:
            checks.choice("dicom_key", self.dicom_key, DICOM_KEYS)
        checks.amount("max_unmatched", self.max_unmatched, 0, "rows or images")


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
class FetchConfig(Settings):
    """Settings of `cnnjobs fetch`; `source` is what `--from` names."""

    dataset: str
    output: str
    source: str | None = None
    validation: float | None = None
    limit: int | None = None
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
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
