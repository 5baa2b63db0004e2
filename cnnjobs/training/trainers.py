"""Where a job trains: on Ray, or in a process of its own on this machine.

Starting a Ray and what Ray Train runs beside a worker takes longer than many a training.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from cnnjobs.cluster import presence
from cnnjobs.progress import Progress
from cnnjobs.training.distributed.task import Task
from cnnjobs.training.reports import Fitted
from cnnjobs.training.train_plan import TrainPlan

#: Bytes of decoded images up to which one process keeps them, without Ray; and bytes of one image
#: of a user's own model, whose size is not known yet.
_MAX_BYTES, _UNKNOWN_BYTES = 1 << 30, 1 << 20


class Trainer(Protocol):
    """Where a job trains."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function that may import TensorFlow, in a process of its own.

        Raises:
            CnnjobsError: what the function raises.
        """

    def threads(self, task: Task) -> int:
        """TensorFlow's threads in each worker, on the machines there are now."""

    def fit(self, task: Task, progress: Progress, *, threads: int) -> Fitted:
        """Train and leave a bundle in `task.run_uri`.

        Args:
            task: what to train.
            progress: called after every step.
            threads: of TensorFlow in each worker, however many cores it reserves.

        Raises:
            TrainingError: the loss is not a number, or workers failed too often; one line.
        """


@contextmanager
def started(planned: TrainPlan) -> Iterator[Trainer]:
    """The trainer for a job, which ends with the block.

    Raises:
        InputError: no Ray answers at the job's address.
        CnnjobsError: a process or a machine of Ray failed; see `ray_errors`.
    """
    if not needs_ray(planned):
        from cnnjobs.training.child_trainer import ChildTrainer

        yield ChildTrainer()
        return
    from cnnjobs.cluster import session
    from cnnjobs.training.ray_trainer import RayTrainer

    with session.connected(planned.config.address):
        yield RayTrainer()


def check(planned: TrainPlan) -> None:
    """Check that a Ray answers, if the job needs one; see `session.check`."""
    if needs_ray(planned):
        from cnnjobs.cluster import session

        session.check(planned.config.address)


def needs_ray(planned: TrainPlan) -> bool:
    """Whether the job trains on Ray: its set is large, or Ray or GPUs are there or asked for."""
    config, shape = planned.config, planned.architecture
    image_bytes = shape.height * shape.width if shape.is_described else _UNKNOWN_BYTES
    return (
        (config.workers, config.gpus_per_worker) != (1, None)
        or config.cache == "stream"
        or planned.rows.num_rows * image_bytes > _MAX_BYTES
        or presence.is_needed(config.address)
    )
