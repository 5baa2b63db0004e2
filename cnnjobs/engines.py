"""Scoring engines: uint8 batches in, probabilities out, batch size fixed."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnjobs import bundle, models
from cnnjobs.bundle import Bundle


class Engine(Protocol):
    """What scores batches for a job, wherever it runs."""

    def scores(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of (N, height, width, 1) images.

        (N, 1) of the positive class for two labels, (N, num_labels) for more.
        """


class KerasEngine:
    """Keras with TensorFlow, on a GPU where there is one.

    Batches are padded to `batch_size` images: the graph is made once, and an image's score
    does not depend on how many others came with it.
    """

    def __init__(self, described: Bundle, *, batch_size: int) -> None:
        models.import_keras()
        import tensorflow as tf

        model = bundle.load_model(described)
        self._batch_size = batch_size
        self._score = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.uint8)],
        )

    def scores(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.scores`."""
        parts = [
            self._score_batch(images[start : start + self._batch_size])
            for start in range(0, len(images), self._batch_size)
        ]
        return np.concatenate(parts)

    def _score_batch(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        missing = self._batch_size - len(images)
        if missing:
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        scores: Any = self._score(images).numpy()
        return np.asarray(scores[: self._batch_size - missing], np.float32)
