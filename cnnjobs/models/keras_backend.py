"""Imports Keras on the TensorFlow backend, without TensorFlow's start-up messages."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

#: Lines that TensorFlow writes before its logging is configured.
_STARTUP_LINE = re.compile(rb"WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:")


def import_keras(*, threads: int | None = None) -> Any:
    """The `keras` module on the TensorFlow backend, whatever a user's keras.json says.

    `threads` are those of one operation; they can only be set before anything uses TensorFlow.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # several processes may share a GPU: each allocates what it needs, not all memory
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    quiet_tensorflow()
    with nullcontext() if "tensorflow" in sys.modules else _without_startup_lines():
        import keras
        import tensorflow as tf

        # searches for GPUs, and so writes its messages now instead of later
        tf.config.list_physical_devices()
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    return keras


def quiet_tensorflow() -> None:
    """Hide TensorFlow's start-up messages about CPU features and missing GPUs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


@contextmanager
def _without_startup_lines() -> Iterator[None]:
    """Drop the lines that TensorFlow writes to standard error while it starts, and no others.

    No setting silences these lines (tensorflow#100442). `tests/models/test_keras_backend.py` has a
    test that fails once this is no longer needed.
    """
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            kept.seek(0)
            others = [line for line in kept if not _STARTUP_LINE.match(line)]
            os.write(2, b"".join(others))
