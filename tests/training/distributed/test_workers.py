"""The loop has the same result with two or three Ray Train workers as in one process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import ray

from cnnjobs.training.distributed.batches import InMemory
from tests.training.distributed import small_models
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
    weights = np.full(NUM_ROWS, 9.0, np.float32)
    outcome = run(conv_model(optimizer), workers, global_batch_size=1, row_weights=weights)
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
    return run(model, workers, train=rows(num_classes=3), global_batch_size=2)


def synchronized(workers: Any) -> Outcome:
    """Batch normalization over the global batch, with no padding: 36 rows in batches of 6."""
    import keras

    inner = (keras.layers.BatchNormalization(synchronized=True),)
    return run(conv_model("sgd", inner=inner), workers, train=rows(36), global_batch_size=6)


def unsynchronized(workers: Any) -> Outcome:
    import keras

    return run(conv_model("sgd", inner=(keras.layers.BatchNormalization(),)), workers)


def augmented(workers: Any) -> Outcome:
    import keras

    inner = (keras.layers.RandomTranslation(0.1, 0.1), keras.layers.Dropout(0.2))
    model = conv_model(keras.optimizers.Adam(0.005), inner=inner)
    return run(model, workers, train=rows(120), epochs=5)


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


SCENARIOS: list[Callable[[Any], Outcome]] = [
    adam, clipped, overflowing, large, three_classes, synchronized, unsynchronized, augmented,
    counting, stopping, resumed, poisoned,
]  # fmt: skip


def run_all(workers: Any) -> dict[str, Outcome]:
    return {scenario.__name__: scenario(workers) for scenario in SCENARIOS}


def train_loop_per_worker(config: dict[str, str]) -> None:
    import tensorflow as tf

    from cnnjobs.training.distributed.workers import join

    # as in a training: idle threads of three processes would slow the busy ones down
    tf.config.threading.set_intra_op_parallelism_threads(1)
    workers = join()
    outcomes = run_all(workers)
    (Path(config["folder"]) / f"{workers.rank}.pickle").write_bytes(ray.cloudpickle.dumps(outcomes))


@pytest.fixture(scope="module")
def alone() -> dict[str, Outcome]:
    """The outcomes in a single process."""
    from cnnjobs.training.distributed.workers import Workers

    return run_all(Workers())


@pytest.fixture(scope="module", params=[2, 3])
def workers(
    request: pytest.FixtureRequest, ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Outcome]]:
    """The outcomes of each Ray Train worker."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    from cnnjobs.training.ray_tf_config import TfConfig

    num_workers = request.param
    folder = tmp_path_factory.mktemp("workers")
    modules = [sys.modules[__name__], small_models]
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    DataParallelTrainer(
        train_loop_per_worker,
        backend_config=TfConfig(),
        train_loop_config={"folder": str(folder)},
        scaling_config=ScalingConfig(
            # three must fit on two cores
            num_workers=num_workers,
            resources_per_worker={"CPU": 0.5},
        ),
        run_config=RunConfig(storage_path=str(folder)),
    ).fit()
    for module in modules:
        ray.cloudpickle.unregister_pickle_by_value(module)
    return [
        ray.cloudpickle.loads((folder / f"{rank}.pickle").read_bytes())
        for rank in range(num_workers)
    ]


Workers = list[dict[str, Outcome]]

UNTIMED = {"seconds", "images_per_second", "wait_share", "peak_memory_bytes"}


def numbers(outcome: Outcome) -> list[dict[str, float]]:
    return [
        {name: value for name, value in record.items() if name not in UNTIMED}
        for record in outcome.history
    ]


def test_a_single_worker_trains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnjobs.training.distributed.workers import Workers, join

    cluster = {"cluster": {"worker": ["127.0.0.1:2222"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))

    assert vars(join()) == vars(Workers())


@pytest.mark.parametrize(
    "scenario",
    ["adam", "clipped", "overflowing", "large", "three_classes", "synchronized", "counting"],
)
def test_workers_end_with_the_weights_of_one_process(
    alone: dict[str, Outcome], workers: Workers, scenario: str
) -> None:
    for worker in workers:
        assert largest_difference(worker[scenario].weights, alone[scenario].weights) < 2e-6
        assert numbers(worker[scenario]) == [
            pytest.approx(record, rel=1e-5, abs=1e-6) for record in numbers(alone[scenario])
        ]
        assert worker[scenario].error == ""


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SCENARIOS])
def test_all_workers_end_with_the_same_bits(workers: Workers, scenario: str) -> None:
    first = workers[0][scenario]
    for worker in workers[1:]:
        assert largest_difference(worker[scenario].weights, first.weights) == 0
        assert numbers(worker[scenario]) == numbers(first)
        assert worker[scenario].error == first.error


def test_every_row_moves_the_model_once_per_epoch(workers: Workers) -> None:
    from cnnjobs.training.distributed.sharding import epoch_order

    order = epoch_order(NUM_ROWS, seed=SEED, epoch=0)
    num_in_batch = np.empty(NUM_ROWS)
    for start in range(0, NUM_ROWS, GLOBAL_BATCH_SIZE):
        batch = order[start : start + GLOBAL_BATCH_SIZE]
        num_in_batch[batch] = len(batch)
    for worker in workers:
        (kernel,) = worker["counting"].weights
        assert (-kernel[:, 0] * num_in_batch).tolist() == pytest.approx([1.0] * NUM_ROWS)


def test_the_loss_curve_with_dropout_and_augmentation_stays_in_a_band(
    alone: dict[str, Outcome], workers: Workers
) -> None:
    curve = [record["loss"] for record in workers[0]["augmented"].history]
    expected = [record["loss"] for record in alone["augmented"].history]
    assert expected[0] - expected[-1] > 0.1
    assert curve == pytest.approx(expected, abs=0.02)


def test_a_single_worker_can_stop_all(workers: Workers) -> None:
    assert [len(worker["stopping"].history) for worker in workers] == [1] * len(workers)


def test_a_run_resumed_by_rank_0_ends_with_the_same_bits(workers: Workers) -> None:
    assert {worker["resumed"].error for worker in workers} == {"differs by 0.0"}


def test_all_workers_name_the_step_of_a_loss_that_is_not_a_number(
    alone: dict[str, Outcome], workers: Workers
) -> None:
    assert alone["poisoned"].error.startswith("the loss at epoch 1, step ")
    assert {worker["poisoned"].error for worker in workers} == {alone["poisoned"].error}
