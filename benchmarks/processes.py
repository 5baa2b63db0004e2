"""Runs each measurement in its own process, so start-up time and peak memory are its own."""

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.memory import TreeMemory
from cnnjobs.errors import CnnjobsError

#: The command line, however the package was installed.
CNNJOBS = (sys.executable, "-m", "cnnjobs")

Part = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended.

    Attributes:
        output: its standard output.
        began: its start, as `time.time()`.
        seconds: how long it ran.
        peak_memory_bytes: of it and all its children together; see `TreeMemory`.
    """

    output: str
    began: float
    seconds: float
    peak_memory_bytes: int | None


def in_process(part: Part, **settings: Any) -> dict[str, Any]:
    """Call `part(settings)` in a fresh process and return its result.

    Args:
        part: a module-level function; takes and returns what JSON can hold.
        settings: passed on, with `began`, the time when the process was started.

    Raises:
        CnnjobsError: the process failed.
    """
    return result_of(run(part_command(part, **settings), name=part.__name__))


def part_command(part: Part, **settings: Any) -> list[str]:
    """The command that runs a part, if it is started now."""
    encoded = json.dumps({**settings, "began": time.time()})
    return [sys.executable, "-m", "benchmarks.processes", part.__module__, part.__name__, encoded]


def result_of(ended: Ended) -> dict[str, Any]:
    """What the part returned: the last line of its output, after anything libraries print."""
    returned: dict[str, Any] = json.loads(ended.output.splitlines()[-1])
    return returned


def run(command: Sequence[str], *, name: str, memory: bool = False) -> Ended:
    """Run a command and wait for it.

    Args:
        command: program and arguments.
        name: what an error message calls it.
        memory: whether to measure its memory and that of its children.

    Raises:
        CnnjobsError: it failed.
    """
    began, clock = time.time(), time.monotonic()
    # files, not pipes: a grandchild that outlives the command would hold a pipe open
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        with TreeMemory(process.pid, on=memory) as watched:
            process.wait()
        seconds = time.monotonic() - clock
        printed, complaint = (_text(file) for file in (output, errors))
    if process.returncode:
        lines = complaint.strip().splitlines() or [f"exit code {process.returncode}"]
        raise CnnjobsError(f"{name} of the benchmark failed: {lines[-1]}")
    return Ended(output=printed, began=began, seconds=seconds, peak_memory_bytes=watched.peak_bytes)


def main(module: str, function: str, settings: str) -> None:
    """The other side of `in_process`: call the part and print its result."""
    part = getattr(importlib.import_module(module), function)
    sys.stdout.write("\n" + json.dumps(part(json.loads(settings))) + "\n")


def _text(file: Any) -> str:
    file.seek(0)
    return bytes(file.read()).decode(errors="replace")


if __name__ == "__main__":
    main(*sys.argv[1:])
