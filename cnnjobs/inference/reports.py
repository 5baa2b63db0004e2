"""What a scoring job writes about itself while it runs: `progress.jsonl`, and for Prometheus."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from cnnjobs.errors import StorageError
from cnnjobs.storage import filesystem, json_files, line_files

#: Seconds between two lines of `progress.jsonl`, and between two versions of a metrics file.
_SECONDS_BETWEEN = 10.0

#: The same on S3, where nothing can be appended to an object: all lines are written again.
_SECONDS_BETWEEN_ON_S3 = 300.0

#: Name, help and source of each metric that is one number.
_METRICS = (
    ("images", "Images of the run.", "total"),
    ("images_done", "Images that have a row, scored or failed.", "done"),
    ("images_per_second", "Images per second since scoring began.", "images_per_second"),
)

_log = logging.getLogger(__name__)


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

    def write(
        self, facts: Mapping[str, Any], failed: Mapping[str, int], *, last: bool = False
    ) -> None:
        """Write it if it is the last one or the previous one is old enough.

        Args:
            facts: `Tally.facts`.
            failed: failed images of all sessions by reason.
            last: write it however young the previous one is.
        """
        now = time.monotonic()
        if self._path is None or (now - self._written < _SECONDS_BETWEEN and not last):
            return
        self._written = now
        try:
            filesystem.write_bytes(self._path, self._text(facts, failed).encode())
        except StorageError as error:
            # a night must not end for want of its metrics
            _log.warning("%s", error)

    def _text(self, facts: Mapping[str, Any], failed: Mapping[str, int]) -> str:
        lines = []
        for name, text, key in _METRICS:
            value = 0 if facts[key] is None else facts[key]
            lines += [*_header(name, text), f"cnnjobs_{name}{{{self._labels}}} {value}"]
        lines += _header("images_failed", "Images that could not be scored, by reason.")
        for reason, number in sorted(failed.items()):
            labels = f'{self._labels},reason="{_escaped(reason)}"'
            lines.append(f"cnnjobs_images_failed{{{labels}}} {number}")
        return "\n".join([*lines, ""])


def _header(name: str, text: str) -> list[str]:
    return [f"# HELP cnnjobs_{name} {text}", f"# TYPE cnnjobs_{name} gauge"]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
