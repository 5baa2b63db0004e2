"""What the tests of several workers train: each function runs in every worker, and in one alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cnnjobs.training.distributed.batches import InMemory
from tests.training.distributed.small_models import (
    GLOBAL_BATCH_SIZE,
    NUM_ROWS,
    SEED,
    conv_model,
    largest_difference,
    rows,
)


class Outcome(NamedTuple):
    """The results of a worker."""

    history: list[dict[str, float]]
    weights: list[npt.NDArray[Any]]
    error: str = ""


def run(
    model: Any, workers: Any, *, train: InMemory | None = None, seed: int = SEED, **fit_args: Any
) -> Outcome:
    from cnnjobs.errors import TrainingError
    from cnnjobs.training.distributed.loop import fit

    settings = {"epochs": 2, "global_batch_size": GLOBAL_BATCH_SIZE} | fit_args
    try:
        history = fit(model, train or rows(), rows(11), seed=seed, workers=workers, **settings)
    except TrainingError as error:
        return Outcome([], [], str(error))
    return Outcome(history, model.get_weights())


def adam(workers: Any) -> Outcome:
    """Every worker initializes different weights: those of rank 0 must win."""
    import keras

    metrics = ["accuracy", keras.metrics.AUC(name="auprc", curve="PR")]
    model = conv_model(keras.optimizers.Adam(0.01), weights_seed=1 + workers.rank, metrics=metrics)
    return run(model, workers)


def clipped(workers: Any) -> Outcome:
    """Every step clips the gradients, and must clip their sum over the workers."""
    import keras

    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1)
    weights = np.linspace(0.5, 2.0, NUM_ROWS, dtype=np.float32)
    return run(conv_model(optimizer), workers, row_weights=weights)


def overflowing(workers: Any) -> Outcome:
    """The first steps overflow; all workers must skip them, even one without a row."""
    import keras

    inner = keras.optimizers.SGD(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=3e38)
    few = rows(12)
    settings = {"epochs": 1, "global_batch_size": 1, "row_weights": np.full(12, 9.0, np.float32)}
    outcome = run(conv_model(optimizer), workers, train=few, **settings)
    scale = float(optimizer.dynamic_scale)
    return outcome._replace(error="" if scale < 3e38 else "nothing overflowed")


def large(workers: Any) -> Outcome:
    """The gradient of the dense layer is large enough for the workers' shared memory."""
    import keras

    inner = keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1)
    model = conv_model(inner, width=4096)
    used = workers.share_memory(model.trainable_variables) is not None
    error = "" if used == (workers.num_workers > 1) else "no memory is shared"
    return run(model, workers)._replace(error=error)


def three_classes(workers: Any) -> Outcome:
    model = conv_model("adam", num_outputs=3)
    return run(model, workers, train=rows(11, num_classes=3), global_batch_size=2)


def normalized(workers: Any) -> Outcome:
    """Batch normalization; of the last batch, 1 row, other workers have only padding."""
    import keras

    from cnnjobs.training.distributed.batch_normalization import synchronized

    layers = keras.layers
    inner = (layers.BatchNormalization(), layers.Conv2D(4, 3), layers.BatchNormalization())
    model = synchronized(conv_model("sgd", inner=inner), workers.num_workers)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
    return run(model, workers, epochs=3, global_batch_size=6)


def augmented(workers: Any) -> Outcome:
    import keras

    inner = (keras.layers.RandomTranslation(0.1, 0.1), keras.layers.Dropout(0.2))
    model = conv_model(keras.optimizers.Adam(0.005), inner=inner)
    return run(model, workers, train=rows(64), epochs=4)


def counting(workers: Any) -> Outcome:
    """Every row moves a different weight, by -1 / (rows of its global batch)."""
    import keras

    one_hot = np.eye(NUM_ROWS, dtype=np.uint8)[:, None, :, None]
    inputs = keras.Input((1, NUM_ROWS, 1), dtype="uint8")
    scores = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(
        keras.layers.Flatten()(keras.layers.Rescaling(1.0)(inputs))
    )
    model = keras.Model(inputs, scores)
    model.compile(keras.optimizers.SGD(1.0), lambda labels, scores: scores[:, 0])
    from cnnjobs.training.distributed.loop import fit

    train = InMemory(one_hot, np.arange(NUM_ROWS) % 2)
    settings: dict[str, Any] = {"epochs": 1, "global_batch_size": GLOBAL_BATCH_SIZE, "seed": SEED}
    return Outcome(fit(model, train, workers=workers, **settings), model.get_weights())


def stopping(workers: Any) -> Outcome:
    """Only the last worker has a callback, which stops after the first epoch."""
    import keras

    model = conv_model("sgd")

    def stop(epoch: int, logs: dict[str, float]) -> None:
        model.stop_training = True

    last = workers.rank == workers.num_workers - 1
    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=stop)] if last else []
    return run(model, workers, callbacks=callbacks, epochs=5)


def resumed(workers: Any) -> Outcome:
    """Only rank 0 has the checkpoint that the run continues from."""
    import keras

    def build() -> Any:
        return conv_model(keras.optimizers.Adam(0.01), inner=(keras.layers.Dropout(0.2),))

    whole = run(build(), workers, epochs=2)
    first, second = build(), build()
    run(first, workers, epochs=1)
    if workers.rank == 0:
        second.optimizer.build(second.trainable_variables)
        second.set_weights(first.get_weights())
        for to, value in zip(second.optimizer.variables, first.optimizer.variables, strict=True):
            to.assign(value)
    rest = run(second, workers, initial_epoch=1)
    difference = largest_difference(whole.weights, rest.weights)
    return Outcome(rest.history, rest.weights, error=f"differs by {difference}")


def poisoned(workers: Any) -> Outcome:
    """The loss of one row is not a number: only one worker has it, all must raise."""
    import keras

    model = conv_model("sgd")
    model.compile("sgd", lambda labels, scores: keras.ops.sqrt(labels[:, 0]) + 0 * scores[:, 0])
    train = rows()
    train.all_labels[5] = -1
    return run(model, workers, train=train)


Scenario = Callable[[Any], Outcome]

#: What differs between two workers and three: how rows are divided, and how memory is shared.
OF_TWO: list[Scenario] = [adam, large, counting, normalized]

SCENARIOS: list[Scenario] = [
    *OF_TWO, clipped, overflowing, three_classes, augmented, stopping,
    resumed, poisoned,
]  # fmt: skip
