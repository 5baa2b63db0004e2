"""What a training process reports to its job: steps, epochs, and how it ended."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnjobs import models
from cnnjobs.progress import Progress

#: Seconds between two reports of a step; training waits for each report.
_SECONDS_BETWEEN = 1.0

#: What is reported of an epoch.
_SHOWN = ("loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The history of a training, one mapping per epoch, and the number of undecodable images."""

    history: Sequence[Mapping[str, float]]
    num_failed: int


def epoch_note(epoch: int, logs: Mapping[str, float]) -> str:
    """One line on an epoch (from 0), from its `loop.fit` history."""
    parts = [f"{name} {logs[name]:.3f}" for name in _SHOWN if name in logs]
    parts.append(f"learning rate {logs['learning_rate']:.3g}")
    parts.append(f"{logs['images_per_second']:.1f} images/s")
    return f"epoch {epoch + 1}: {', '.join(parts)}"


def passed_on(report: Mapping[str, Any], progress: Progress) -> None:
    """Show what a `reporter` reports."""
    progress("train", report["step"], report["steps"], report["note"])


def reporter(put: Callable[[Mapping[str, Any]], None], steps: int) -> Any:
    """A Keras callback that reports steps and epochs.

    Args:
        put: sends a report to the job.
        steps: of the whole training.
    """
    keras = models.import_keras()

    class Reporter(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.done = 0
            self.last = 0.0

        def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            # a resumed training does not begin at step 0
            self.done = epoch * self.params["steps"]

        def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
            self.done += 1
            if time.monotonic() - self.last > _SECONDS_BETWEEN:
                self.last = time.monotonic()
                self.report(f"loss {(logs or {}).get('loss', float('nan')):.4f}")

        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            self.report(epoch_note(epoch, logs or {}))

        def report(self, note: str) -> None:
            put({"step": self.done, "steps": steps, "note": note})

    return Reporter()
