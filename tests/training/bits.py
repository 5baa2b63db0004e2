"""What changes the bits of a training on CPUs: `python -m tests.training.bits` prints a table.

Each line is a training of the same images with the same seed in a new process, beside the first.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.training import killed

#: Threads of one operation, and variables of the environment, of each training after the first.
VARIANTS: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "the same again": (2, {}),
    "one thread in place of two": (1, {}),
    "three threads in place of two": (3, {}),
    "oneDNN on AVX in place of AVX2": (2, {"ONEDNN_MAX_CPU_ISA": "AVX"}),
    "XLA on AVX in place of AVX2": (2, {"XLA_FLAGS": "--xla_cpu_max_isa=AVX"}),
    "without oneDNN": (2, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
}


def print_table() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        killed.write_data(folder)
        first = _weights(folder, 2, {})
        for variant, (threads, environment) in VARIANTS.items():
            found = _weights(folder, threads, environment)
            largest = max(
                np.abs(one - other).max() for one, other in zip(first, found, strict=True)
            )
            print(f"| {variant} | {f'differs by {largest:.1g}' if largest else 'equal'} |")


def _weights(folder: Path, threads: int, environment: Mapping[str, str]) -> list[np.ndarray]:
    output = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-m", __spec__.name, str(folder), output, str(threads)]
    subprocess.run(
        command, check=True, env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    with np.load(Path(output, "checkpoints", "last.npz")) as arrays:
        return [arrays[name] for name in arrays.files if name != "state"]


def _train(folder: str, output: str, threads: str) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    data = Path(folder, "manifest.parquet")
    killed.left(killed.config_of(data, Path(output), learning_rate=1e-3), ())


if __name__ == "__main__":
    print_table() if len(sys.argv) == 1 else _train(*sys.argv[1:])
