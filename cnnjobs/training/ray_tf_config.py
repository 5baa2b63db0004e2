"""TF_CONFIG for Ray Train's workers, through which TensorFlow connects them.

Ray's own `TensorflowTrainer` does the same, but imports TensorFlow in the processes of the trainer
and the controller before the first worker starts: 8 s of every training on two cores.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig

from cnnjobs.storage import json_files


class TfConfig(BackendConfig):
    """A backend for `DataParallelTrainer` whose workers `distributed.workers.join` connects."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _Backend


class _Backend(Backend):
    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        addresses = worker_group.execute(_free_address)
        ray.get(
            [
                worker_group.execute_single_async(rank, _set_tf_config, addresses, rank)
                for rank in range(len(worker_group))
            ]
        )


def _free_address() -> str:
    """An address on this worker's machine with a free port."""
    host = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as unused:
        # bound, but not listening: nobody reaches it
        unused.bind(("", 0))
        port = unused.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _set_tf_config(addresses: Sequence[str], rank: int) -> None:
    os.environ["TF_CONFIG"] = json_files.text(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}},
        indent=None,
    )
