"""Scoring engines: uint8 batches in, probabilities out, with a fixed batch size.

What is scored at once is padded to a fixed number of images: the network is compiled once for that
shape, and the score of an image does not depend on the number of images in its batch.
"""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnjobs import models
from cnnjobs.errors import InputError
from cnnjobs.models.mixed_precision import in_mixed_precision
from cnnjobs.models.openvino_import import import_openvino

if TYPE_CHECKING:
    import keras

Images = NDArray[np.uint8]
Scores = NDArray[np.float32]


#: Most images that OpenVINO gets at once.
_PART = 16


class Engine(Protocol):
    """Scores images; independent of where it runs."""

    def scores(self, images: Images) -> Scores:
        """Probabilities of (N, height, width, 1) images.

        For two labels (N, 1), of the positive class; for more (N, num_labels).
        """


class OpenVinoEngine:
    """OpenVINO on the CPU, without TensorFlow in the process; one batch at a time.

    A batch is cut into equal parts, as many of which are scored at once as there are threads: those
    that share one image wait for each other after every layer. The parts do not depend on the
    threads, because in some models the last bit of a score depends on the size of its part.
    """

    def __init__(
        self,
        network: bytes,
        weights: bytes,
        *,
        batch_size: int,
        threads: int,
        precision: str = "fp32",
    ) -> None:
        """Compile for a fixed batch size.

        Args:
            network: XML in OpenVINO's format, with a dynamic batch dimension.
            weights: of the network.
            batch_size: images per batch.
            threads: of the CPU.
            precision: of the arithmetic, fp32 or bf16; what is int8 in the network stays so.

        Raises:
            InputError: the processor does not compute in bfloat16.
        """
        core = import_openvino().Core()
        if precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise InputError(
                "this machine's processor has no bfloat16 arithmetic; use --precision fp32 or int8."
            )
        model = core.read_model(model=network, weights=weights)
        parts = -(-batch_size // _PART)
        self._part = -(-batch_size // parts)
        at_once = num_at_once(parts, threads)
        _, *shape = model.input(0).get_partial_shape()
        model.reshape([self._part, *shape])
        settings = {
            "NUM_STREAMS": at_once,
            "INFERENCE_NUM_THREADS": threads,
            # by default CPUs with bfloat16 use it, and scores differ from Keras' by 1e-3
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            # the same cores also decode, and several processes may share a machine
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(model, "CPU", settings)
        self._requests = [compiled.create_infer_request() for _ in range(at_once)]

    def scores(self, images: Images) -> Scores:
        """See `Engine.scores`."""
        at_once = self._part * len(self._requests)
        scores = [self._at_once(each) for each in _cut(images, at_once)]
        return np.concatenate(scores, dtype=np.float32)

    def _at_once(self, images: Images) -> Any:
        """The scores of no more images than there are requests for."""
        running = list(zip(self._requests, _cut(images, self._part), strict=False))
        *others, (own, last) = running
        for request, part in others:
            request.start_async([_padded(part, self._part)])
        # this thread scores as well; a single part needs no other
        own.infer([_padded(last, self._part)])
        scores = []
        for request, part in running:
            request.wait()
            scores.append(request.get_output_tensor().data[: len(part)])
        # a copy, because the next parts overwrite the memory of the requests
        return np.concatenate(scores)


def num_at_once(parts: int, threads: int) -> int:
    """How many parts of a batch to score at once: all threads must be busy, and equally many each.

    Args:
        parts: of a batch.
        threads: for all parts together.
    """
    return max(each for each in range(1, min(parts, threads) + 1) if threads % each == 0)


class KerasEngine:
    """Keras with TensorFlow; on a GPU, compiled by XLA and in mixed precision."""

    def __init__(self, model: "keras.Model", *, batch_size: int) -> None:
        """Compile for a fixed batch size; `model` takes (N, height, width, 1) uint8."""
        models.import_keras()
        import tensorflow as tf

        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        if on_gpu:
            model = in_mixed_precision(model)
        self._batch_size = batch_size
        self._call = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.uint8)],
            jit_compile=on_gpu or None,
        )
        # compiles now, instead of while the first images wait
        self._call(np.zeros((batch_size, *model.input_shape[1:]), np.uint8))

    def scores(self, images: Images) -> Scores:
        """See `Engine.scores`."""
        scores = [
            self._call(_padded(each, self._batch_size)).numpy()[: len(each)]
            for each in _cut(images, self._batch_size)
        ]
        return np.concatenate(scores, dtype=np.float32)


def _cut(images: Images, size: int) -> list[Images]:
    """The images in groups of `size`; the last one may be smaller."""
    return [images[start : start + size] for start in range(0, len(images), size)]


def _padded(images: Images, size: int) -> Images:
    """So many images: these, and black ones."""
    missing = size - len(images)
    if not missing:
        return images
    return np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
