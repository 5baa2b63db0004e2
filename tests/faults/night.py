"""A night of strikes against `cnnjobs predict`: nothing may be lost, doubled or changed.

    python -m tests.faults.night --minutes 60 --seed 1

Scores an archive on a real S3 server into a small disk, over and over, while processes are killed,
the server stops or refuses its keys, the disk is full, files are replaced, deleted or cut, and a
second start meets the first. Whenever a run has finished, `cnnjobs verify` must be green, every
image must have one row, and every score must equal, to the last bit, that of an undisturbed run.
Linux only; without root no disk is filled. The same seed draws the same strikes, but at moments
that depend on the machine.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from cnnjobs.cluster.machine import free_ports
from tests.support import archives
from tests.support.disks import fill
from tests.support.processes import descendants, kill, kill_all, scorers, title
from tests.support.s3_server import rclone

BUCKET, ARCHIVE = "night", "archive"
KEYS = ("night-access-key", "night-secret-key")
DISK_MB = 64
#: Small, so that strikes meet parts at every stage.
SIZES = ("--batch-size", "16", "--rows-per-file", "100")
#: What a start may end with: done, failed, refused, too many bad images, stopped or killed.
CODES = (0, 1, 2, 3, 130, 143, -signal.SIGKILL, -signal.SIGTERM)
#: Starts in a row that may fail once nothing disturbs them any more.
LAST_STARTS = 5
#: Seconds after which a start that makes no progress is taken to hang.
PATIENCE_S = 300


class Server:
    """`rclone serve s3` on one port, to be stopped, started and given other keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, secret: str = KEYS[1]) -> None:
        """Serve the folder; returns when it answers."""
        flags = ["--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{KEYS[0]},{secret}"]
        self.process = subprocess.Popen(
            [
                rclone(),
                "serve",
                "s3",
                str(self.folder),
                *flags,
                "--config",
                "",
                "--log-level=ERROR",
            ],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(1)

    def stop(self) -> None:
        """Stop serving, in the middle of whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Night:
    """The archive, the run, and what has happened so far."""

    def __init__(self, folder: Path, *, num_images: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.disk = folder / "disk"
        self.files = folder / "served" / BUCKET / ARCHIVE
        self.server = Server(folder / "served")
        self.spare = folder / "spare"
        self.deck: list[tuple[str, Strike]] = []
        self.strikes: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()
        self.num_runs = 0
        self.gone: set[str] = set()
        self.files.parent.mkdir(parents=True)
        archives.write_bundle(str(folder / "bundle"))
        archives.write_archive(self.files, num_images, num_broken=num_images // 100)
        archives.write_archive(self.spare, 64)

    def draw(self) -> "tuple[str, Strike]":
        """The next strike, each once before any comes again."""
        if not self.deck:
            self.deck = self.random.sample(STRIKES, len(STRIKES))
        return self.deck.pop()

    @property
    def output(self) -> Path:
        """The current run."""
        return self.disk / f"run-{self.num_runs}"

    def start(self, output: Path | None = None, *flags: str) -> "subprocess.Popen[str]":
        """Start scoring in a separate process group."""
        words = ["predict", str(self.folder / "bundle"), f"s3://{BUCKET}/{ARCHIVE}", "--quiet"]
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "cnnjobs", *words),
                *("-o", str(output or self.output), *SIZES, *(flags or ("--update",))),
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "errors.log").open("a"),
            text=True,
            start_new_session=True,
            env=self._environment(),
        )

    def end(self, driver: "subprocess.Popen[str]") -> int:
        """Wait for a start, and check that it neither hangs nor ends as nothing documents."""
        deadline, rows = time.monotonic() + PATIENCE_S, -1
        while driver.poll() is None:
            time.sleep(0.5)
            if rows != (rows := self.num_rows()):
                deadline = time.monotonic() + PATIENCE_S
            if time.monotonic() > deadline:
                raise SystemExit(f"a start hangs: {self.output}, processes {title(driver.pid)}")
        if driver.returncode not in CODES:
            raise SystemExit(f"a start ended with {driver.returncode}, see {self.folder}")
        self.codes[driver.returncode] += 1
        return driver.returncode

    def num_rows(self) -> int:
        """Rows in the parts of the current run."""
        with contextlib.suppress(OSError, ValueError):
            parts = sorted((self.output / "predictions").glob("part-*.parquet"))
            return sum(pq.read_metadata(part).num_rows for part in parts)
        return 0

    def check(self) -> None:
        """Compare the finished run with one that nothing disturbs."""
        verified = subprocess.run(
            [sys.executable, "-m", "cnnjobs", "verify", str(self.output)],
            capture_output=True,
            text=True,
            check=False,
        )
        if verified.returncode:
            raise SystemExit(f"verify: {verified.stdout}{verified.stderr}")
        quiet = self.folder / "quiet"
        shutil.rmtree(quiet, ignore_errors=True)
        code = self.start(quiet, "--overwrite").wait()
        if code:
            raise SystemExit(f"the undisturbed run ended with {code}, see {self.folder}")
        disturbed, expected = _rows(self.output), _rows(quiet)
        for path in expected.keys() ^ disturbed.keys():
            if path in expected or path not in self.gone:
                raise SystemExit(f"{path} is in one of the two runs only")
        for path, row in expected.items():
            if disturbed[path] != row:
                raise SystemExit(f"{path} is {disturbed[path]} and, undisturbed, {row}")
        self.num_runs += 1
        shutil.rmtree(quiet)
        shutil.rmtree(self.disk / f"run-{self.num_runs - 1}")

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server.port}",
            "AWS_ACCESS_KEY_ID": KEYS[0],
            "AWS_SECRET_ACCESS_KEY": KEYS[1],
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "RAY_ADDRESS": "local",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        }


Strike = Callable[[Night, "subprocess.Popen[str]"], None]


def main() -> None:
    """Strike until the time is over, then let the run end and check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=int, default=5000)
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    folder = Path(tempfile.mkdtemp(prefix="cnnjobs-night-"))
    night = Night(folder, num_images=options.images, seed=options.seed)
    with _mounted(night.disk):
        night.server.start()
        try:
            while time.monotonic() < deadline:
                _strike_once(night)
            _finish(night)
        finally:
            night.server.stop()
    shutil.rmtree(folder)
    print(f"{night.num_runs} runs, each as if undisturbed; starts ended with {dict(night.codes)}")
    print("strikes: " + ", ".join(f"{name} {n}" for name, n in sorted(night.strikes.items())))


def _strike_once(night: Night) -> None:
    """One start with one strike at a random moment; a run that is finished is checked."""
    name, strike = night.draw()
    after = night.random.uniform(0, 500)
    rows = night.num_rows()
    driver = night.start()
    with _ended(driver):
        while driver.poll() is None and night.num_rows() < rows + after:
            time.sleep(0.05)
        print(f"{time.strftime('%H:%M:%S')} {name} at {night.num_rows()} rows", flush=True)
        night.strikes[name] += 1
        strike(night, driver)
        if night.end(driver) in (0, 3) and (night.output / "_SUCCESS").exists():
            _finish(night)


def _finish(night: Night) -> None:
    """Let the run end undisturbed, and check it."""
    for _ in range(LAST_STARTS):
        driver = night.start()
        with _ended(driver):
            if night.end(driver) in (0, 3):
                night.check()
                return
    raise SystemExit(f"the run did not end in {LAST_STARTS} undisturbed starts, see {night.folder}")


def _kill_scorer(night: Night, driver: "subprocess.Popen[str]") -> None:
    for pid in scorers(driver.pid)[:1]:
        kill(pid)


def _kill_driver(night: Night, driver: "subprocess.Popen[str]") -> None:
    below = descendants(driver.pid)
    kill(driver.pid)
    driver.wait()
    kill_all(below)


def _kill_raylet(night: Night, driver: "subprocess.Popen[str]") -> None:
    for pid in descendants(driver.pid):
        if "raylet/raylet" in title(pid):
            kill(pid)


def _stop_driver(night: Night, driver: "subprocess.Popen[str]") -> None:
    driver.send_signal(signal.SIGTERM)


def _stop_server(night: Night, driver: "subprocess.Popen[str]") -> None:
    night.server.stop()
    time.sleep(night.random.uniform(0, 40))
    night.server.start()


def _revoke_keys(night: Night, driver: "subprocess.Popen[str]") -> None:
    night.server.stop()
    night.server.start(secret="another-secret")
    time.sleep(night.random.uniform(5, 30))
    night.server.stop()
    night.server.start()


def _fill_disk(night: Night, driver: "subprocess.Popen[str]") -> None:
    ballast = night.disk / "ballast"
    fill(ballast)
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.wait(60)
    ballast.unlink()


def _replace_files(night: Night, driver: "subprocess.Popen[str]") -> None:
    for file in night.random.sample(sorted(night.files.rglob("*.png")), 20):
        aside = file.with_name(f".{file.name}")
        shutil.copy(night.random.choice(sorted(night.spare.rglob("*.png"))), aside)
        aside.replace(file)


def _delete_files(night: Night, driver: "subprocess.Popen[str]") -> None:
    for file in night.random.sample(sorted(night.files.rglob("*.png")), 5):
        night.gone.add(f"s3://{BUCKET}/{file.relative_to(night.files.parent)}")
        file.unlink()


def _cut_files(night: Night, driver: "subprocess.Popen[str]") -> None:
    """Cut some files, and let others grow by bytes that belong to no image."""
    for number, file in enumerate(night.random.sample(sorted(night.files.rglob("*.png")), 10)):
        content = file.read_bytes()
        # another file: several names share one
        file.unlink()
        file.write_bytes(content[: len(content) // 3] if number % 2 else content + bytes(100))


def _add_files(night: Night, driver: "subprocess.Popen[str]") -> None:
    for file in night.random.sample(sorted(night.spare.rglob("*.png")), 5):
        name = f"new-{night.random.randrange(10**6):06d}.png"
        shutil.copy(file, night.files / "dark" / name)


def _start_twice(night: Night, driver: "subprocess.Popen[str]") -> None:
    for flags in (("--update",), ("--overwrite",), ("--resume",)):
        code = night.start(None, *flags).wait()
        if driver.poll() is None and code != 2:
            raise SystemExit(f"a second start ({flags[0]}) ended with {code}")


STRIKES: list[tuple[str, Strike]] = [
    ("scorer killed", _kill_scorer),
    ("driver killed", _kill_driver),
    ("raylet killed", _kill_raylet),
    ("driver stopped", _stop_driver),
    ("server stopped", _stop_server),
    ("keys revoked", _revoke_keys),
    ("disk full", _fill_disk),
    ("files replaced", _replace_files),
    ("files deleted", _delete_files),
    ("files cut", _cut_files),
    ("files added", _add_files),
    ("started twice", _start_twice),
]


def _rows(run: Path) -> dict[str, tuple[object, ...]]:
    """Of each image its score and error; an image with two rows ends the night."""
    record = json.loads((run / "run.json").read_text())
    columns = ["path", "prediction", "probability", "error", "width", "height"]
    found: dict[str, tuple[object, ...]] = {}
    for name in record["files"]:
        for row in pq.read_table(run / "predictions" / name, columns=columns).to_pylist():
            if row["path"] in found:
                raise SystemExit(f"{row['path']} has two rows in {run}")
            found[row["path"]] = tuple(row.values())
    return found


@contextlib.contextmanager
def _ended(driver: "subprocess.Popen[str]") -> Iterator[None]:
    """Leave no process behind."""
    try:
        yield
    finally:
        below = descendants(driver.pid)
        kill(driver.pid)
        driver.wait()
        kill_all(below)


@contextlib.contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    """A file system of its own, which can be filled."""
    folder.mkdir()
    size = f"size={DISK_MB}m"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if subprocess.run(mount, check=False).returncode:
        print("no disk is filled: only root can mount a small one", flush=True)
        STRIKES[:] = [each for each in STRIKES if each[1] is not _fill_disk]
        yield
        return
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


if __name__ == "__main__":
    main()
