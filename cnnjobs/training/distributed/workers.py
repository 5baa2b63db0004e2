"""The workers of one run as seen from one of them: its rank, and sums over all of them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cnnjobs.errors import TrainingError
from cnnjobs.training.distributed import shared_memory
from cnnjobs.training.distributed.shared_memory import SharedMemory


class Workers:
    """The workers that train together, one process and one device each.

    Built without a strategy it stands for one process alone. The model and its optimizer are
    ordinary Keras objects, made outside `strategy.scope()`: the strategy is used for its
    all-reduce only. Inside `strategy.run`, Keras clips gradients and looks for overflows
    (mixed precision) on each worker's own part before it sums them, which gives other
    weights than one process has, or a hang.
    """

    def __init__(self, strategy: Any = None) -> None:
        self._strategy = strategy
        self._sums: dict[Any, Any] = {}
        self.rank = 0 if strategy is None else int(strategy.cluster_resolver.task_id)
        self.num_workers = 1 if strategy is None else num_workers_in_tf_config()
        if strategy is not None and strategy.num_replicas_in_sync != self.num_workers:
            raise TrainingError(
                "a worker must see one device, but "
                f"{self.num_workers} workers see {strategy.num_replicas_in_sync} "
                "in all. Ask for one GPU a worker and for more workers."
            )

    def sum(self, tensors: Sequence[Any], memory: SharedMemory | None = None) -> list[Any]:
        """Return the sum over all workers of each of `tensors`. To be called in a tf.function.

        `memory` is what `share_memory` gave for tensors of these shapes, in this order.
        """
        if self._strategy is None:
            return list(tensors)
        if memory is None:
            return list(self._strategy.run(_all_reduce, args=(list(tensors),)))
        large = [tensor for tensor in tensors if shared_memory.is_large(tensor)]
        rest = [tensor for tensor in tensors if not shared_memory.is_large(tensor)]
        written = tf.numpy_function(memory.put, large, tf.float32)
        *rest, written = self.sum([*rest, tf.ensure_shape(written, [])])
        # now all workers have written
        totals = tf.numpy_function(memory.totals, [written], [tensor.dtype for tensor in large])
        left, summed = iter(rest), iter(totals)
        return [
            tf.ensure_shape(next(summed), tensor.shape)
            if shared_memory.is_large(tensor)
            else next(left)
            for tensor in tensors
        ]

    def share_memory(self, variables: Sequence[Any]) -> SharedMemory | None:
        """Return memory to sum tensors like `variables` through; None where it is of no use.

        It is of use to a few workers on one host without GPUs. To be called by all of them,
        outside any tf.function.
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
        name = json.loads(self.text_from_first(json.dumps(name)))
        places = shared_memory.opened(name, shape)
        # in containers of one address each may have a /dev/shm of its own
        all_see_it = not self.any(places is None)
        if self.rank == 0 and name:
            # what is mapped stays until its processes end, however they do
            Path(name).unlink()
        if places is None or not all_see_it:
            return None
        return SharedMemory(places, shapes, self.rank)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` so that layers which sum over workers themselves can do so.

        Those are `BatchNormalization(synchronized=True)` and what users write alike.
        """
        if self._strategy is None:
            return function(*args)
        return self._strategy.run(function, args=args)

    def sum_now(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the sum over all workers of each of `tensors`, outside any tf.function."""
        if self._strategy is None:
            return list(tensors)
        own = [tf.convert_to_tensor(tensor) for tensor in tensors]
        # one function for each set of shapes, because TensorFlow warns of one traced anew
        shapes = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in own)
        if shapes not in self._sums:
            self._sums[shapes] = tf.function(self.sum, autograph=False)
        return list(self._sums[shapes](own))

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any worker."""
        (votes,) = self.sum_now([np.float32(flag)])
        return bool(votes > 0)

    def text_from_first(self, text: str) -> str:
        """Return rank 0's text on every worker; the others' own does not matter."""
        if self._strategy is None:
            return text
        own = np.frombuffer(text.encode(), np.uint8) if self.rank == 0 else np.zeros(0, np.uint8)
        (length,) = self.sum_now([np.float32(len(own))])
        padded = np.zeros(int(length), np.float32)
        padded[: len(own)] = own
        (sent,) = self.sum_now([padded])
        return np.asarray(sent).astype(np.uint8).tobytes().decode()

    def copy_from_first(self, variables: Sequence[Any]) -> None:
        """Give the Keras `variables` of every worker the values of rank 0, bit for bit."""
        if self._strategy is None:
            return
        own = [tf.convert_to_tensor(variable.value) for variable in variables]
        sent = own if self.rank == 0 else [tf.zeros_like(value) for value in own]
        for variable, value in zip(variables, self.sum_now(sent), strict=True):
            variable.assign(value)

    def average(self, variables: Sequence[Any]) -> None:
        """Give the Keras `variables` of every worker their mean over all workers."""
        if self._strategy is None or not variables:
            return
        # in float64 the mean of equal float32 values is that value again
        own = [tf.cast(variable.value, tf.float64) for variable in variables]
        for variable, value in zip(variables, self.sum_now(own), strict=True):
            variable.assign(tf.cast(value / self.num_workers, variable.dtype))


def join() -> Workers:
    """Join the workers that TF_CONFIG names; alone where it is unset or names one worker.

    Must come before anything else that TensorFlow does in the process.
    """
    if num_workers_in_tf_config() == 1:
        return Workers()
    return Workers(tf.distribute.MultiWorkerMirroredStrategy())


def num_workers_in_tf_config() -> int:
    """Return the number of workers that TF_CONFIG names, 1 where it is unset."""
    return max(1, len(addresses_in_tf_config()))


def addresses_in_tf_config() -> list[str]:
    """Return host:port of every worker that TF_CONFIG names."""
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    return list(cluster.get("worker", []))


def _all_reduce(tensors: list[Any]) -> list[Any]:
    context = tf.distribute.get_replica_context()
    # the all-reduce packs its tensors into one, so they must share the device and the type
    own = [tf.identity(tensor) for tensor in tensors]
    summed = list(own)
    for dtype in dict.fromkeys(tensor.dtype for tensor in own):
        places = [place for place, tensor in enumerate(own) if tensor.dtype == dtype]
        values = context.all_reduce(tf.distribute.ReduceOp.SUM, [own[place] for place in places])
        for place, value in zip(places, values, strict=True):
            summed[place] = value
    return summed
