"""The one place that imports OpenVINO, keeps it from sending telemetry and works around a fault.

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


@contextlib.contextmanager
def converting() -> Iterator[None]:
    """Convert a model of TensorFlow in the block.

    OpenVINO 2026.4 runs `exec("import tensorflow")` and `exec("del tensorflow")` in a function.
    Since Python 3.13 (PEP 667) the second raises NameError, as the first binds nothing there. We
    found no issue about it upstream. TensorFlow is imported by then, so neither is needed.
    """
    # it imports asyncio, which only a conversion is to wait for
    from unittest import mock

    from openvino.frontend.tensorflow import utils

    with mock.patch.object(utils, "exec", _do_nothing, create=True):
        yield


def _do_nothing(source: str) -> None:
    pass
