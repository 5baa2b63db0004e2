"""A training of many epochs with checkpoints needs no more memory than one of few."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

EPOCHS = 24


def test_the_peak_does_not_grow_with_the_epochs(tmp_path: Path) -> None:
    # a peak is that of a process, so this has one to itself
    code = f"from {__name__} import peaks; peaks({str(tmp_path)!r})"
    root = ROOT
    subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    peak_bytes = json.loads((tmp_path / "peaks.json").read_text())
    checkpoint_bytes = (tmp_path / "last.npz").stat().st_size

    assert len(peak_bytes) == EPOCHS
    assert checkpoint_bytes > 10e6
    # one kept checkpoint an epoch would come to 20
    assert peak_bytes[-1] - peak_bytes[3] < 5 * checkpoint_bytes


def peaks(folder: str) -> None:
    """Train with a checkpoint of 13 MB after each epoch; write the peak after each."""
    from cnnjobs.training.distributed.checkpoints import Checkpointer, Progress
    from cnnjobs.training.distributed.loop import fit
    from cnnjobs.training.distributed.workers import Workers
    from tests.training.distributed.small_models import conv_model, rows

    workers = Workers()
    model = conv_model("adam", width=10_000)
    keeper = Checkpointer(
        folder, monitor="val_loss", remembered=[], start=Progress(), workers=workers
    )
    settings = {"epochs": EPOCHS, "global_batch_size": 8, "seed": 0}
    history = fit(model, rows(), rows(11), callbacks=[keeper], workers=workers, **settings)
    Path(folder, "peaks.json").write_text(
        json.dumps([epoch["peak_memory_bytes"] for epoch in history])
    )
