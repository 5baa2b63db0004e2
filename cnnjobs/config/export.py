"""Settings of `cnnjobs export`."""

from dataclasses import dataclass

from cnnjobs.config import checks
from cnnjobs.config.s3 import S3Settings

FORMATS = ("onnx", "openvino", "saved-model", "keras")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(S3Settings):
    """Settings of `cnnjobs export`."""

    bundle: str
    output: str
    format: str = "onnx"
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.digests("expect", self.expect)
        checks.choice("format", self.format, FORMATS)
