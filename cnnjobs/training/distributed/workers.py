"""The workers of one run, seen from one of them: its rank, and sums over all workers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cnnjobs.errors import TrainingError
from cnnjobs.storage import json_files
from cnnjobs.training.distributed import shared_memory
from cnnjobs.training.distributed.shared_memory import SharedMemory


class Workers:
    """The workers that train together, each with one process and one device.

    Without a strategy there is a single worker. The model and its optimizer are ordinary Keras
    objects, built outside `strategy.scope()`: the strategy is only used for its all-reduce. Inside
    `strategy.run`, Keras would clip gradients and check for overflows (mixed precision) on each
    worker's part before it sums the parts, which leads to different weights than in a single
    process, or to a hang.
    """

    def __init__(self, strategy: Any = None) -> None:
        self._strategy = strategy
        self._sums: dict[Any, Any] = {}
        self.rank = 0 if strategy is None else int(strategy.cluster_resolver.task_id)
        self.num_workers = 1 if strategy is None else num_workers_in_tf_config()
        if strategy is not None and strategy.num_replicas_in_sync != self.num_workers:
            raise TrainingError(
                "each worker must see exactly one device, but "
                f"{self.num_workers} workers see {strategy.num_replicas_in_sync} "
                "in total; use one GPU per worker and more workers."
            )

    def sum(self, tensors: Sequence[Any], memory: SharedMemory | None = None) -> list[Any]:
        """Return the sum over all workers of each of `tensors`. Call it inside a tf.function.

        `memory` is the result of `share_memory` for tensors of these shapes, in this order.
        """
        if self._strategy is None:
            return list(tensors)
        if memory is None:
            return list(self._strategy.run(_all_reduce, args=(list(tensors),)))
        large = [tensor for tensor in tensors if shared_memory.is_large(tensor)]
        rest = [tensor for tensor in tensors if not shared_memory.is_large(tensor)]
        written = tf.numpy_function(memory.put, large, tf.float32)
        *rest, written = self.sum([*rest, tf.ensure_shape(written, [])])
        # all workers have written by now
        totals = tf.numpy_function(memory.totals, [written], [tensor.dtype for tensor in large])
        left, summed = iter(rest), iter(totals)
        return [
            tf.ensure_shape(next(summed), tensor.shape)
            if shared_memory.is_large(tensor)
            else next(left)
            for tensor in tensors
        ]

    def share_memory(self, variables: Sequence[Any]) -> SharedMemory | None:
        """Return memory for sums of tensors like `variables`; None if it would not help.

        It helps a few workers on one host without GPUs. All of them must call this, outside any
        tf.function.
        """
        shapes = [
            tuple(variable.shape) for variable in variables if shared_memory.is_large(variable)
        ]
        hosts = {address.rpartition(":")[0] for address in addresses_in_tf_config()}
        if (
            not shapes
            or not 1 < self.num_workers <= shared_memory.MAX_WORKERS
            or len(hosts) > 1
            or tf.config.list_logical_devices("GPU")
        ):
            return None
        shape = (2, self.num_workers, shared_memory.num_elements(shapes))
        name = shared_memory.create(shape) if self.rank == 0 else ""
        name = json.loads(self.text_from_first(json_files.text(name)))
        slots = shared_memory.opened(name, shape)
        # containers that share an address may each have a separate /dev/shm
        all_see_it = not self.any(slots is None)
        if self.rank == 0 and name:
            # mapped memory lasts until the processes end, even if they crash
            Path(name).unlink()
        if slots is None or not all_see_it:
            return None
        return SharedMemory(slots, shapes, self.rank)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in a context in which layers can sum over the workers themselves."""
        if self._strategy is None:
            return function(*args)
        return self._strategy.run(function, args=args)

    def sum_in_run(self, tensor: Any) -> Any:
        """Return the sum of `tensor` over all workers, inside `run`; gradients pass through it."""
        if self._strategy is None:
            return tensor
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tensor)

    def sum_now(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the sum over all workers of each of `tensors`, outside any tf.function."""
        if self._strategy is None:
            return list(tensors)
        own = [tf.convert_to_tensor(tensor) for tensor in tensors]
        # one function per set of shapes, because TensorFlow warns when it retraces a function
        shapes = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in own)
        if shapes not in self._sums:
            self._sums[shapes] = tf.function(self.sum, autograph=False)
        return list(self._sums[shapes](own))

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any worker."""
        (votes,) = self.sum_now([np.float32(flag)])
        return bool(votes > 0)

    def text_from_first(self, text: str) -> str:
        """Return rank 0's text on every worker; the text of the others is ignored."""
        if self._strategy is None:
            return text
        own = np.frombuffer(text.encode(), np.uint8) if self.rank == 0 else np.zeros(0, np.uint8)
        (length,) = self.sum_now([np.float32(len(own))])
        padded = np.zeros(int(length), np.float32)
        padded[: len(own)] = own
        (sent,) = self.sum_now([padded])
        return np.asarray(sent).astype(np.uint8).tobytes().decode()

    def copy_from_first(self, variables: Sequence[Any]) -> None:
        """Set the Keras `variables` of every worker to the values of rank 0, bit for bit."""
        if self._strategy is None:
            return
        own = [tf.convert_to_tensor(variable.value) for variable in variables]
        sent = own if self.rank == 0 else [tf.zeros_like(value) for value in own]
        for variable, value in zip(variables, self.sum_now(sent), strict=True):
            variable.assign(value)


def join() -> Workers:
    """Connect to the workers in TF_CONFIG; without it, or with one worker, train alone.

    Must come before any other use of TensorFlow in the process.
    """
    if num_workers_in_tf_config() == 1:
        return Workers()
    return Workers(tf.distribute.MultiWorkerMirroredStrategy())


def num_workers_in_tf_config() -> int:
    """Return the number of workers in TF_CONFIG, 1 if it is unset."""
    return max(1, len(addresses_in_tf_config()))


def addresses_in_tf_config() -> list[str]:
    """Return host:port of every worker in TF_CONFIG."""
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    return list(cluster.get("worker", []))


def _all_reduce(tensors: list[Any]) -> list[Any]:
    context = tf.distribute.get_replica_context()
    # the all-reduce packs its tensors into one, so they must have the same device and type
    own = [tf.identity(tensor) for tensor in tensors]
    summed = list(own)
    for dtype in dict.fromkeys(tensor.dtype for tensor in own):
        indices = [index for index, tensor in enumerate(own) if tensor.dtype == dtype]
        values = context.all_reduce(tf.distribute.ReduceOp.SUM, [own[index] for index in indices])
        for index, value in zip(indices, values, strict=True):
            summed[index] = value
    return summed
