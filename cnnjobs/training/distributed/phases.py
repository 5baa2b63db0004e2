"""The phases of a training: epochs with the same layers to train and the same optimizer."""

from dataclasses import dataclass

from cnnjobs.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs from `start` (the number done before) to `end`, with a learning rate of their own.

    `is_frozen` says whether only the head trains. Every phase has a new optimizer, and schedule and
    warmup of its own.
    """

    start: int
    end: int
    rate: float
    is_frozen: bool

    def continues(self, epochs_done: int) -> bool:
        """Whether a checkpoint after so many epochs holds this phase's optimizer."""
        return self.start < epochs_done <= self.end


def phases(config: TrainConfig) -> list[Phase]:
    """One phase, or two if the backbone is frozen only at first."""
    rate, end = config.learning_rate, config.epochs
    if config.unfreeze_at is None:
        return [Phase(start=0, end=end, rate=rate, is_frozen=config.freeze is not None)]
    turn = config.unfreeze_at - 1
    later = config.unfreeze_learning_rate or rate / 10
    return [
        Phase(start=0, end=turn, rate=rate, is_frozen=True),
        Phase(start=turn, end=end, rate=later, is_frozen=False),
    ]
