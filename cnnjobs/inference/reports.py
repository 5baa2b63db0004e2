"""What a scoring job writes about itself while it runs: `progress.jsonl`, and for Prometheus."""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cnnjobs.errors import StorageError
from cnnjobs.storage import filesystem, json_files, line_files

#: Seconds between two lines of `progress.jsonl`, and between two versions of a metrics file.
_SECONDS_BETWEEN = 10.0

#: The same on S3, where nothing can be appended to an object: all lines are written again.
_SECONDS_BETWEEN_ON_S3 = 300.0

#: Help of each metric, and the fact that it shows unless it has a number per reason.
HELP = {
    "images": "Images of the run.",
    "images_done": "Images that have a row, scored or failed.",
    "images_per_second": "Images per second since scoring began.",
    "images_failed": "Images that could not be scored, by reason.",
}
_FACTS = {"images": "total", "images_done": "done", "images_per_second": "images_per_second"}

_log = logging.getLogger(__name__)


class Metric(NamedTuple):
    """A number of a run for Prometheus; `reason` is that of failed images."""

    name: str
    value: float
    reason: str | None = None


def metrics(facts: Mapping[str, Any], failed: Mapping[str, int]) -> list[Metric]:
    """The metrics of a run.

    Args:
        facts: `Tally.facts`.
        failed: failed images of all sessions by reason.
    """
    found = [Metric(name, facts[key] or 0) for name, key in _FACTS.items()]
    return found + [Metric("images_failed", failed[reason], reason) for reason in sorted(failed)]


class ProgressFile:
    """`progress.jsonl` of a run: a line every few seconds, over all its sessions."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._every = _SECONDS_BETWEEN_ON_S3 if filesystem.is_s3(uri) else _SECONDS_BETWEEN
        self._written = 0.0

    def add(self, facts: Mapping[str, Any], *, last: bool = False) -> None:
        """Add a line if it is the last one or the previous one is old enough."""
        now = time.monotonic()
        if now - self._written < self._every and not last:
            return
        self._written = now
        line_files.append(self._uri, json_files.text(facts, indent=None))


class MetricsFile:
    """The state of a run for the textfile collector of Prometheus' node_exporter, if wanted."""

    def __init__(self, path: str | None, run_uri: str) -> None:
        self._path = path if path is None else filesystem.normalize(path)
        self._labels = f'run="{_escaped(run_uri)}"'
        self._written = 0.0

    def write(self, metrics: Iterable[Metric], *, last: bool = False) -> None:
        """Write it if it is the last one or the previous one is old enough."""
        now = time.monotonic()
        if self._path is None or (now - self._written < _SECONDS_BETWEEN and not last):
            return
        self._written = now
        try:
            filesystem.write_bytes(self._path, self._text(metrics).encode())
        except StorageError as error:
            # a night must not end for want of its metrics
            _log.warning("%s", error)

    def _text(self, metrics: Iterable[Metric]) -> str:
        values: dict[str, list[str]] = {name: [] for name in HELP}
        for each in metrics:
            labels = self._labels
            if each.reason is not None:
                labels += f',reason="{_escaped(each.reason)}"'
            values[each.name].append(f"cnnjobs_{each.name}{{{labels}}} {each.value}")
        lines = []
        for name, text in HELP.items():
            lines += [f"# HELP cnnjobs_{name} {text}", f"# TYPE cnnjobs_{name} gauge"]
            lines += values[name]
        return "\n".join([*lines, ""])


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
