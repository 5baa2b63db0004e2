"""Processes of their own for what is timed: start-up and peak memory are those of a process."""

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.tree import TreeMemory
from cnnjobs.errors import CnnjobsError

#: The command line, whichever way the package was installed.
CNNJOBS = (sys.executable, "-c", "from cnnjobs.cli import main; main()")

Part = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that came to its end.

    Attributes:
        output: what it printed.
        began: when it was started, as `time.time()`.
        seconds: from its start to its end.
        peak_memory_bytes: of it and all its children at one moment; see `TreeMemory`.
    """

    output: str
    began: float
    seconds: float
    peak_memory_bytes: int | None


def in_process(part: Part, **settings: Any) -> dict[str, Any]:
    """What `part(settings)` returns in a fresh process.

    Args:
        part: a function of a module; takes and returns what JSON can hold.
        settings: what it gets, beside `began`: when the process was started.

    Raises:
        CnnjobsError: the process ended with an error.
    """
    return told(run(part_words(part, **settings), name=part.__name__))


def part_words(part: Part, **settings: Any) -> list[str]:
    """The command that runs a part, started now."""
    given = json.dumps({**settings, "began": time.time()})
    return [sys.executable, "-m", "benchmarks.processes", part.__module__, part.__name__, given]


def told(ended: Ended) -> dict[str, Any]:
    """What the part returned that ran in a process; what libraries print comes before."""
    returned: dict[str, Any] = json.loads(ended.output.splitlines()[-1])
    return returned


def run(words: Sequence[str], *, name: str, memory: bool = False) -> Ended:
    """Run a command to its end.

    Args:
        words: the command.
        name: what to call it in an error.
        memory: watch how much memory it takes, with all its children.

    Raises:
        CnnjobsError: it ended with an error.
    """
    began, clock = time.time(), time.monotonic()
    # files, not pipes: a process that outlives the command would hold a pipe open
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(words, stdout=output, stderr=errors)
        with TreeMemory(process.pid, on=memory) as watched:
            process.wait()
        seconds = time.monotonic() - clock
        printed, complaint = (_text(file) for file in (output, errors))
    if process.returncode:
        lines = complaint.strip().splitlines() or [f"exit code {process.returncode}"]
        raise CnnjobsError(f"{name} of the benchmark failed: {lines[-1]}")
    return Ended(output=printed, began=began, seconds=seconds, peak_memory_bytes=watched.peak_bytes)


def answer(module: str, function: str, settings: str) -> None:
    """The other end of `in_process`: call the part and print what it returns."""
    part = getattr(importlib.import_module(module), function)
    sys.stdout.write("\n" + json.dumps(part(json.loads(settings))) + "\n")


def _text(file: Any) -> str:
    file.seek(0)
    return bytes(file.read()).decode(errors="replace")
