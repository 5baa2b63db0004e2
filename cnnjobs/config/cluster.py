"""The settings of commands that start, use and check clusters."""

import re
from dataclasses import dataclass

from cnnjobs.config import checks
from cnnjobs.config.s3 import S3Settings
from cnnjobs.config.urls import Settings
from cnnjobs.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ClusterStartConfig(Settings):
    """Settings of `cnnjobs cluster start`; a worker joins the head at `address`.

    Without `host`, a head listens on 127.0.0.1, and a worker where its head can reach it.
    """

    head: bool = False
    address: str | None = None
    host: str | None = None
    port: int = 6379
    dashboard_port: int = 8265
    num_cpus: int | None = None
    num_gpus: int | None = None
    object_store_gib: float | None = None
    temp_dir: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head == (self.address is not None):
            raise ConfigError(
                "cluster start needs --head (for a new cluster) or --address HEAD:PORT (to join "
                f"one), got {'both' if self.head else 'neither'}."
            )
        if self.address is not None and not re.fullmatch(r"\S+:\d+", self.address):
            raise ConfigError(f"address must be HOST:PORT of a head, got {self.address}.")
        for name in ("port", "dashboard_port"):
            if not 1 <= getattr(self, name) <= 65535:
                raise ConfigError(f"{name} must be 1 to 65535, got {getattr(self, name)}.")
        for name in ("num_cpus", "num_gpus"):
            if getattr(self, name) is not None:
                checks.at_least(name, getattr(self, name), 0)
        # Ray refuses less
        if self.object_store_gib is not None and self.object_store_gib < 0.1:
            raise ConfigError(
                f"object_store_gib must be at least 0.1, got {self.object_store_gib}."
            )


@dataclass(frozen=True, kw_only=True)
class SubmitConfig(Settings):
    """Settings of `cnnjobs submit`; `arguments` are those of `command`.

    `retries` is how often a job that was killed, or lost with its machine, is continued.
    """

    command: str
    arguments: tuple[str, ...] = ()
    address: str | None = None
    insecure: bool = False
    wait: bool = True
    pip: bool = False
    retries: int = 0
    shared_path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least("retries", self.retries, 0)
        if self.retries and not self.wait:
            raise ConfigError("--retries continues a job from here: leave out --no-wait.")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(S3Settings):
    """Settings of `cnnjobs doctor`; `s3_uri` is an S3 prefix to check as well."""

    address: str | None = None
    insecure: bool = False
    s3_uri: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.s3_uri is not None and not self.s3_uri.startswith("s3://"):
            raise ConfigError(f"s3_uri must be s3://bucket/prefix, got {self.s3_uri}.")
