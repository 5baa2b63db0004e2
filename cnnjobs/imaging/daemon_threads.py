"""Threads of which one may hang: it can be replaced, and it does not keep the process alive."""

import faulthandler
import queue
import threading
import time
import weakref
from collections.abc import Callable

#: A job says whether its thread should go on.
Job = Callable[[], bool]


class DaemonThreads:
    """Threads that work off a queue until this object is gone.

    Those of `concurrent.futures` cannot be added to, and Python waits for them before it exits.
    """

    def __init__(self, number: int, name: str) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._name = name
        self._number = 0
        for _ in range(number):
            self.add()
        weakref.finalize(self, _end, self._jobs)

    def submit(self, job: Job) -> None:
        """Have a thread call `job` as soon as one is free."""
        self._jobs.put(job)

    def add(self) -> None:
        """Start one more thread, in place of one whose job never ends."""
        name = f"{self._name}-{self._number}"
        self._number += 1
        threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()


def end_if_frozen(seconds: float) -> None:
    """End this process if for so long no thread gets Python's lock, which a decoder may hold."""

    def postpone() -> None:
        while True:
            # counts in a thread that needs no lock; from whenever this thread was stopped, the
            # process lives on for no less than `seconds`
            faulthandler.dump_traceback_later(1.25 * seconds, exit=True)
            time.sleep(min(1.0, seconds / 4))

    threading.Thread(target=postpone, name="postpone", daemon=True).start()


def _work(jobs: "queue.SimpleQueue[Job | None]") -> None:
    while True:
        job = jobs.get()
        if job is None:
            # the others are to end, too
            jobs.put(None)
            return
        goes_on = job()
        # while it waits for the next job, a thread must not keep alive what the last one holds
        del job
        if not goes_on:
            return


def _end(jobs: "queue.SimpleQueue[Job | None]") -> None:
    jobs.put(None)
