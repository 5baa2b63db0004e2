"""A program on a pseudo-terminal, and what a person sees on its screen."""

import os
import pty
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyte

from tests.support.heads import environment_of_a_user
from tests.support.processes import wait_until


class Terminal:
    """The screen of a process, kept up to date by a thread."""

    def __init__(self, process: "subprocess.Popen[bytes]", end: int) -> None:
        self.process = process
        self._end = end
        self._screen = pyte.Screen(columns=200, lines=60)
        self._stream = pyte.ByteStream(self._screen)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def type(self, text: str) -> None:
        """Press keys: `\\x03` is Ctrl-C, `\\x04` Ctrl-D."""
        os.write(self._end, text.encode())

    def text(self) -> str:
        """What is on the screen, without the empty ends of lines."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def wait_for(self, text: str) -> None:
        """Wait until the screen shows a text."""
        wait_until(lambda: text in self.text() or self.process.poll() is not None)
        assert text in self.text(), self.text()

    def close(self) -> None:
        """End the process, and read what is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._end)

    def _read(self) -> None:
        while True:
            try:
                read = os.read(self._end, 4096)
            except OSError:
                return  # the process has closed its end
            if not read:
                return
            self._stream.feed(read)


@contextmanager
def terminal(words: Sequence[str], **environment: str) -> Iterator[Terminal]:
    """Run a program on a terminal of its own, of which Ctrl-C interrupts it."""
    end, its_end = pty.openpty()
    process = subprocess.Popen(
        words,
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        env=environment_of_a_user(TERM="xterm", **environment),
        start_new_session=True,
        # the first terminal that the leader of a session opens controls it
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )
    os.close(its_end)
    shown = Terminal(process, end)
    try:
        yield shown
    finally:
        shown.close()
