"""Where S3 is, for every job that reads or writes there."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from cnnjobs.config.urls import Settings
from cnnjobs.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class S3Settings(Settings):
    """Which S3 server to use, and as whom; see `s3.use`.

    Never contains keys: they come from AWS's own chain (environment, profile, role).
    """

    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_profile: str | None = None
    s3_anonymous: bool = False
    s3_requester_pays: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.s3_anonymous and self.s3_profile is not None:
            raise ConfigError("s3_anonymous and s3_profile cannot be given together; choose one.")
        if self.s3_anonymous and self.s3_requester_pays:
            raise ConfigError(
                "s3_anonymous and s3_requester_pays cannot be given together: who pays must sign."
            )

    @property
    def s3(self) -> dict[str, Any]:
        """The settings as `s3.use` takes them."""
        return {
            field.name.removeprefix("s3_"): getattr(self, field.name)
            for field in dataclasses.fields(S3Settings)
        }
