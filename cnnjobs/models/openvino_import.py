"""The one place that imports OpenVINO, and keeps it from sending telemetry.

Importing it, converting a model and NNCF each start a process that sends what was done to Google
Analytics, unless they run in CI. No other switch works for a single process: `opt_in_out
--opt_out` writes to the user's home.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any


def import_openvino() -> Any:
    """The module `openvino`."""
    with without_telemetry():
        import openvino
    return openvino


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Let nothing in the block send telemetry."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
