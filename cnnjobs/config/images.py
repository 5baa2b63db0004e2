"""Which images a job takes of its data."""

from dataclasses import dataclass

from cnnjobs.config import checks
from cnnjobs.config.s3 import S3Settings


@dataclass(frozen=True, kw_only=True)
class ImageSettings(S3Settings):
    """Settings of every job that takes a manifest, a folder or a prefix; see `globs.regex`."""

    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.patterns("exclude", self.exclude)
