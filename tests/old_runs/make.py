"""Make `38bb914.tar.gz`: what the commit 38bb914 leaves on disk, for tests of later commits.

Check that commit out, install it, copy this file into it and run

    python tests/old_runs/make.py tests/old_runs/38bb914.tar.gz

It takes five minutes. Only the command line `cnnjobs` is called. Runs record absolute paths and
are resumed with the same ones, so everything is made in `/tmp/cnnjobs-old-runs`, and the tests
unpack the archive there.

| path | what |
| --- | --- |
| `images/`, `manifest.parquet` | 100 drawings of `cnnjobs demo` at 40 x 40, and 5 broken files |
| `runs/first`, `runs/second` | finished trainings: plain, and with every setting of the bundle |
| `runs/killed` | the training of `first`, killed after its second epoch |
| `runs/searched` | a finished search of two trials |
| `runs/crossed`, `runs/crossed-stopped` | a finished crossval of three folds, and one stopped |
| `evaluated/first`, `evaluated/second` | evaluations; the first one ends with its audit |
| `scored`, `scored-stopped` | a finished predict of all images, and one killed |
| `one/*.json`, `compare.json` | what `predict-one` and `compare` print with `--json` |
"""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

ROOT = Path("/tmp/cnnjobs-old-runs")
CNNJOBS = Path(sys.executable).with_name("cnnjobs")
EPOCHS = 6
SIDE = 40
#: Of all images: an update compares times, and the archive keeps whole seconds.
DRAWN_AT = 1_767_225_600
#: Names of event files hold the name of the machine; nothing reads them again.
LEFT_OUT = "tensorboard"

MODEL = """\
import keras
from keras import layers


def tiny(num_labels):
    outputs = 1 if num_labels == 2 else num_labels
    return keras.Sequential(
        [
            keras.Input((40, 40, 1), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, strides=2, activation="relu"),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(outputs, activation="sigmoid" if num_labels == 2 else "softmax"),
        ]
    )
"""
SPACE = "learning_rate: {choice: [0.01, 0.003]}\nbatch_size: {randint: [4, 8]}\n"
TINY = ("--model", f"{ROOT}/model.py:tiny", "--learning-rate", "0.01", "--batch-size", "4")
TRAIN = ("train", "manifest.parquet", *TINY, "--epochs", str(EPOCHS))
SECOND = (
    "--recipe", "robust", "--augment", "light", "--class-weight", "balanced", "--keep", "best",
    "--calibrate", "--threshold-rule", "youden", "--seed", "1",
)  # fmt: skip
CROSSVAL = ("crossval", "manifest.parquet", *TINY, "--epochs", "2", "--folds", "3")
TUNE = ("tune", "manifest.parquet", *TINY[:2], "--space", "space.yaml", "--trials", "2")
PREDICT = ("predict", "runs/first", "images", "--batch-size", "4", "--rows-per-file", "4")


def main() -> None:
    """Make every run and pack them."""
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir()
    draw()
    (ROOT / "model.py").write_text(MODEL)
    (ROOT / "space.yaml").write_text(SPACE)
    cnnjobs("index", "images", "-o", "manifest.parquet")

    cnnjobs(*TRAIN, "-o", "runs/first")
    cnnjobs(*TRAIN, "-o", "runs/second", *SECOND)
    stopped(*TRAIN, "-o", "runs/killed", when=two_epochs_done, by=signal.SIGKILL)
    cnnjobs(*TUNE, "--epochs", "2", "-o", "runs/searched")
    cnnjobs(*CROSSVAL, "--parallel", "1", "-o", "runs/crossed")
    stopped(*CROSSVAL, "--parallel", "1", "-o", "runs/crossed-stopped", when=one_fold_done)
    cnnjobs("evaluate", "runs/first", "manifest.parquet", "-o", "evaluated/first")
    cnnjobs("evaluate", "runs/second", "manifest.parquet", "-o", "evaluated/second", "--no-audit")
    cnnjobs(*PREDICT, "-o", "scored")
    # two scorers take smaller blocks, between which there is time to stop
    two = ("--actors", "2", "--cpus-per-actor", "1")
    stopped(*PREDICT, *two, "-o", "scored-stopped", when=some_rows_written, by=signal.SIGKILL)

    images = [str(path) for path in sorted(ROOT.glob("images/*/*.png"))[:8]]
    (ROOT / "one").mkdir()
    for run in ("first", "second", "searched"):
        result = cnnjobs("predict-one", f"runs/{run}", *images, "--json")
        (ROOT / "one" / f"{run}.json").write_text(result)
    result = cnnjobs("compare", "evaluated/first", "evaluated/second", "--json")
    (ROOT / "compare.json").write_text(result)
    pack(Path(sys.argv[1]))


def draw() -> None:
    """Draw what `cnnjobs demo` draws, then make every image that can be read small."""
    cnnjobs("demo", "-o", "demo", "--num-images", "100", "--epochs", "1")
    (ROOT / "demo" / "archive").rename(ROOT / "images")
    shutil.rmtree(ROOT / "demo")
    num_small = 0
    for path in sorted(ROOT.glob("images/*/*.*")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        # the demo has truncated files, which OpenCV reads in part
        if image is not None and not is_cut(path):
            cv2.imwrite(str(path), cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
            num_small += 1
        os.utime(path, (DRAWN_AT, DRAWN_AT))
    assert num_small == 100, num_small


def is_cut(path: Path) -> bool:
    """Whether the end of a JPEG or PNG file is missing."""
    end = b"\xff\xd9" if path.suffix == ".jpg" else b"IEND\xaeB`\x82"
    return not path.read_bytes().endswith(end)


def cnnjobs(*words: str) -> str:
    """Run a command to its end; returns what it printed."""
    print("cnnjobs", *words[:2], flush=True)  # noqa: T201
    return subprocess.run(
        [CNNJOBS, *words],
        cwd=ROOT,
        env=environment(),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def stopped(*words: str, when: Callable[[Path], bool], by: signal.Signals = signal.SIGTERM) -> None:
    """Stop a command as soon as `when` is true of its run directory."""
    output = ROOT / words[words.index("-o") + 1]
    for _ in range(10):
        shutil.rmtree(output, ignore_errors=True)
        print("stopped: cnnjobs", *words[:2], flush=True)  # noqa: T201
        command = subprocess.Popen([CNNJOBS, *words], cwd=ROOT, env=environment())
        while command.poll() is None and not when(output):
            time.sleep(0.005)
        processes = [command.pid, *descendants(command.pid)] if by == signal.SIGKILL else []
        command.send_signal(by)
        for pid in processes[1:]:
            os.kill(pid, by)
        command.wait()
        if when(output) and not (output / "_SUCCESS").exists():
            return
    raise SystemExit(f"{output} was not stopped in the middle, tried 10 times.")


def two_epochs_done(output: Path) -> bool:
    """Whether the last checkpoint is of an epoch in the middle."""
    try:
        with np.load(output / "checkpoints" / "last.npz") as file:
            return 2 <= json.loads(file["state"].tobytes())["epochs_done"] < EPOCHS
    except FileNotFoundError:
        return False


def one_fold_done(output: Path) -> bool:
    """Whether some of the three folds have predictions."""
    return 1 <= len(list(output.glob("predictions/part-*.parquet"))) < 3


def some_rows_written(output: Path) -> bool:
    """Whether some of the 105 images have a row."""
    parts = output.glob("predictions/part-*.parquet")
    return 0 < sum(pq.read_metadata(part).num_rows for part in parts) < 105


def descendants(pid: int) -> list[int]:
    """Return the processes that `pid` started, directly or not."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, listed.splitlines())}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return [one for one in found[1:] if Path(f"/proc/{one}").exists()]


def environment() -> dict[str, str]:
    """Return the variables of a command: a Ray of its own."""
    return {**os.environ, "RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled"}


def pack(archive: Path) -> None:
    """Write all that was made, without the names of this machine and its user."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if LEFT_OUT in Path(member.name).parts:
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = DRAWN_AT
        return member

    with gzip.GzipFile(archive, "wb", mtime=0) as packed:  # noqa: SIM117
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path in sorted(ROOT.iterdir()):
                tar.add(path, path.name, filter=anonymous)


if __name__ == "__main__":
    main()
