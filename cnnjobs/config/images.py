"""Which images a job takes of its data."""

from dataclasses import dataclass
from typing import Any

from cnnjobs.config import checks
from cnnjobs.config.s3 import S3Settings


@dataclass(frozen=True, kw_only=True)
class ImageSettings(S3Settings):
    """Settings of every job that takes a manifest, a folder or a prefix.

    See `globs.regex` and `data.allowed_roots`.
    """

    exclude: tuple[str, ...] = ()
    allowed_root: tuple[str, ...] = ()

    @property
    def chosen(self) -> dict[str, Any]:
        """Those of the data's images that the job takes, for `sources.open_data`."""
        return {"exclude": self.exclude, "allowed_root": self.allowed_root}

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.patterns("exclude", self.exclude)
