"""The loop has the same result with two or three Ray Train workers as in one process."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

from cnnjobs import progress
from cnnjobs.training import ray_process
from cnnjobs.training.distributed.task import Task
from tests.support.trainings import train_task
from tests.training.distributed import handed_over, points, scenarios, small_models
from tests.training.distributed.scenarios import OF_TWO, SCENARIOS, Outcome, Scenario
from tests.training.distributed.small_models import (
    GLOBAL_BATCH_SIZE,
    NUM_ROWS,
    SEED,
    largest_difference,
)

#: The processes of two and of three workers take minutes to start on two cores.
pytestmark = pytest.mark.slow

Outcomes = Mapping[str, Outcome]


class Seen(NamedTuple):
    """What a worker has seen: see `scenarios` and `points`."""

    outcomes: Outcomes
    moved: Mapping[str, list[float]]
    refused: str


def run_all(chosen: Sequence[Scenario], workers: Any) -> Outcomes:
    return {scenario.__name__: scenario(workers) for scenario in chosen}


@pytest.fixture(scope="module")
def alone() -> Outcomes:
    """The outcomes in a single process."""
    from cnnjobs.training.distributed.workers import Workers

    return run_all(SCENARIOS, Workers())


@pytest.fixture(scope="module")
def two(
    seen: list[Seen],
    given: Mapping[str, Any],
    task: Task,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Outcomes]:
    """The outcomes of each of two Ray Train workers, which also resume what others have begun."""
    handed_over.killed(partial(train_task, handed_over.task_in(task, "from 1 to 2")))
    return seen_by(2, all_of_two, given, tmp_path_factory.mktemp("two"))


def all_of_two(workers: Any, config: Mapping[str, Any]) -> Outcomes:
    trained = partial(trained_by, workers, config)
    for name in ("from 1 to 2", "from 3 to 2"):
        trained(name)
    handed_over.killed(partial(trained, "from 2 to 1"))
    return run_all(OF_TWO, workers)


def trained_by(workers: Any, config: Mapping[str, Any], name: str, **settings: Any) -> Any:
    from cnnjobs.training.distributed.fit_model import train_model

    task = handed_over.task_in(config["task"], name)
    return train_model(task, *config["inputs"].sets(task), workers=workers, **settings)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A training with a damaged checkpoint."""
    task = points.task_on_points(tmp_path_factory.mktemp("points"))
    checkpoints = Path(task.run_uri, "checkpoints")
    checkpoints.mkdir(parents=True)
    (checkpoints / "last.npz").write_bytes(b"PK no checkpoint")
    return task


@pytest.fixture(scope="module")
def given(ray_session: None, task: Task) -> Mapping[str, Any]:
    """What the workers are given."""
    inputs = ray_process.ProcessInputs(
        blocks=ray_process.decode_once(task, progress.silent),
        threads=1,
        reports=ray_process.new_queue(),
    )
    return {"task": task, "inputs": inputs}


@pytest.fixture(scope="module")
def seen(given: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """What each of three Ray Train workers has seen."""
    return seen_by(3, all_of_three, given, tmp_path_factory.mktemp("three"))


def all_of_three(workers: Any, config: Mapping[str, Any]) -> Seen:
    given = (config["task"], config["inputs"], workers)
    handed_over.killed(partial(trained_by, workers, config, "from 3 to 2"))
    outcomes = run_all(SCENARIOS, workers)
    return Seen(outcomes, points.moved(*given), points.refused(*given))


@pytest.fixture(scope="module")
def three(seen: list[Seen]) -> list[Outcomes]:
    return [worker.outcomes for worker in seen]


def seen_by(
    num_workers: int, look: Callable[..., Any], config: Mapping[str, Any], folder: Path
) -> list[Any]:
    """What `look` returns in each of several Ray Train workers."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    from cnnjobs.training.ray_tf_config import TfConfig

    modules = [sys.modules[__name__], handed_over, points, scenarios, small_models]
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    DataParallelTrainer(
        train_loop_per_worker,
        backend_config=TfConfig(),
        train_loop_config={**config, "look": look, "folder": str(folder)},
        # three must fit on two cores, beside the tasks that decode streamed images
        scaling_config=ScalingConfig(num_workers=num_workers, resources_per_worker={"CPU": 0.3}),
        run_config=RunConfig(storage_path=str(folder)),
    ).fit()
    for module in modules:
        ray.cloudpickle.unregister_pickle_by_value(module)
    return [
        ray.cloudpickle.loads((folder / f"{rank}.pickle").read_bytes())
        for rank in range(num_workers)
    ]


def train_loop_per_worker(config: dict[str, Any]) -> None:
    import tensorflow as tf

    from cnnjobs.training.distributed.workers import join

    # as in a training: idle threads of three processes would slow the busy ones down
    tf.config.threading.set_intra_op_parallelism_threads(1)
    workers = join()
    found = config["look"](workers, config)
    (Path(config["folder"]) / f"{workers.rank}.pickle").write_bytes(ray.cloudpickle.dumps(found))


def numbers(outcome: Outcome) -> list[dict[str, float]]:
    return [
        {name: value for name, value in record.items() if name not in handed_over.UNTIMED}
        for record in outcome.history
    ]


def test_a_single_worker_trains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnjobs.training.distributed.workers import Workers, join

    cluster = {"cluster": {"worker": ["127.0.0.1:2222"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))

    assert vars(join()) == vars(Workers())


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    ["adam", "clipped", "overflowing", "large", "three_classes", "normalized", "counting"],
)
def test_three_workers_end_with_the_weights_of_one_process(
    alone: Outcomes, three: list[Outcomes], scenario: str
) -> None:
    check_like_one_process(three, alone, scenario)


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in OF_TWO])
def test_two_workers_end_with_the_weights_of_one_process(
    alone: Outcomes, two: list[Outcomes], scenario: str
) -> None:
    check_like_one_process(two, alone, scenario)
    check_same_bits(two, scenario)


def check_like_one_process(workers: list[Outcomes], alone: Outcomes, scenario: str) -> None:
    for worker in workers:
        assert largest_difference(worker[scenario].weights, alone[scenario].weights) < 2e-6
        assert numbers(worker[scenario]) == [
            pytest.approx(record, rel=1e-5, abs=1e-6) for record in numbers(alone[scenario])
        ]
        assert worker[scenario].error == ""


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SCENARIOS])
def test_all_workers_end_with_the_same_bits(three: list[Outcomes], scenario: str) -> None:
    check_same_bits(three, scenario)


def check_same_bits(workers: list[Outcomes], scenario: str) -> None:
    first = workers[0][scenario]
    for worker in workers[1:]:
        assert largest_difference(worker[scenario].weights, first.weights) == 0
        assert numbers(worker[scenario]) == numbers(first)
        assert worker[scenario].error == first.error


@pytest.mark.slow
@pytest.mark.parametrize("way", ["memory", "stream"])
def test_three_workers_train_on_every_path_of_the_split_once(
    seen: list[Seen], task: Task, way: str
) -> None:
    rows = pq.read_table(task.config.data).to_pylist()
    split = [row["path"] for row in rows if row["split"] == "train"]
    paths = {int(Path(row["path"]).stem): row["path"] for row in rows}

    # divisible neither by the workers nor by the batch size
    assert len(split) % 3
    assert len(split) % points.BATCH_SIZE
    for worker in seen:
        moved = {paths[number]: times for number, times in enumerate(worker.moved[way]) if times}
        assert moved == pytest.approx(Counter(split))


@pytest.mark.slow
def test_a_damaged_checkpoint_fails_a_resume_of_all_workers_in_one_line(
    seen: list[Seen], task: Task
) -> None:
    message = f"{task.run_uri}/checkpoints contains a damaged checkpoint; train again."
    assert [worker.refused for worker in seen] == [message] * 3


@pytest.fixture(scope="module")
def uninterrupted(task: Task) -> handed_over.Ended:
    """What the training to hand over ends with in one process."""
    whole = handed_over.task_in(task, "whole")
    return handed_over.ended(whole, train_task(whole))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["from 1 to 2", "from 3 to 2", "from 2 to 1"])
def test_a_training_killed_and_resumed_with_other_workers_ends_as_one_process(
    two: list[Outcomes], task: Task, uninterrupted: handed_over.Ended, way: str
) -> None:
    handed = handed_over.task_in(task, way)
    # two workers have ended the others; here is nothing left to do but to read
    found = handed_over.ended(handed, train_task(handed))
    assert found.history == [
        pytest.approx(epoch, rel=1e-5, abs=1e-6) for epoch in uninterrupted.history
    ]
    assert largest_difference(found.weights, uninterrupted.weights) < 2e-6


@pytest.mark.slow
def test_every_row_moves_the_model_once_per_epoch(three: list[Outcomes]) -> None:
    from cnnjobs.training.distributed.sharding import epoch_order

    order = epoch_order(NUM_ROWS, seed=SEED, epoch=0)
    num_in_batch = np.empty(NUM_ROWS)
    for start in range(0, NUM_ROWS, GLOBAL_BATCH_SIZE):
        batch = order[start : start + GLOBAL_BATCH_SIZE]
        num_in_batch[batch] = len(batch)
    for worker in three:
        (kernel,) = worker["counting"].weights
        assert (-kernel[:, 0] * num_in_batch).tolist() == pytest.approx([1.0] * NUM_ROWS)


@pytest.mark.slow
def test_the_loss_curve_with_dropout_and_augmentation_stays_in_a_band(
    alone: Outcomes, three: list[Outcomes]
) -> None:
    curve = [record["loss"] for record in three[0]["augmented"].history]
    expected = [record["loss"] for record in alone["augmented"].history]
    assert expected[0] - expected[-1] > 0.1
    assert curve == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_a_single_worker_can_stop_all(three: list[Outcomes]) -> None:
    assert [len(worker["stopping"].history) for worker in three] == [1] * 3


@pytest.mark.slow
def test_a_run_resumed_by_rank_0_ends_with_the_same_bits(three: list[Outcomes]) -> None:
    assert {worker["resumed"].error for worker in three} == {"differs by 0.0"}


@pytest.mark.slow
def test_all_workers_name_the_step_of_a_loss_that_is_not_a_number(
    alone: Outcomes, three: list[Outcomes]
) -> None:
    assert alone["poisoned"].error.startswith("the loss at epoch 1, step ")
    assert {worker["poisoned"].error for worker in three} == {alone["poisoned"].error}
