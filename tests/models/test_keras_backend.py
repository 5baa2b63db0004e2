"""Keras as `import_keras` starts it: on TensorFlow, without start-up messages."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[bytes]":
    """A process that starts Keras for a user with another backend configured; its output."""
    home = tmp_path_factory.mktemp("home")
    (home / "keras.json").write_text('{"backend": "torch"}')
    program = (
        "import os, sys; from cnnjobs.models import keras_backend\n"
        "with keras_backend._without_startup_lines():\n"
        "    os.write(2, b'kept\\n')\n"
        "keras = keras_backend.import_keras()\n"
        "keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "print(keras.backend.backend())"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(home)},
        capture_output=True,
        check=True,
    )


def test_keras_runs_on_tensorflow_even_if_another_backend_is_configured(started):
    assert started.stdout == b"tensorflow\n"


def test_tensorflow_starts_silently_and_other_lines_are_kept(started):
    assert started.stderr == b"kept\n"


def test_tensorflow_still_logs_while_it_starts():
    # once this fails, tensorflow#100442 is fixed and `keras_backend._without_startup_lines` can go
    ended = subprocess.run(
        [sys.executable, "-c", "import tensorflow"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stderr=subprocess.PIPE,
        check=True,
    )
    assert b"absl::InitializeLog" in ended.stderr
