"""A training with checkpoints does not need more memory the more epochs it has."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

EPOCHS = 24


def test_the_peak_does_not_grow_with_the_epochs(tmp_path: Path) -> None:
    # the peak is measured per process, so this runs in a separate one
    code = f"from {__name__} import peaks; peaks({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    peak_bytes = json.loads((tmp_path / "peaks.json").read_text())
    checkpoint_bytes = (tmp_path / "last.npz").stat().st_size

    assert len(peak_bytes) == EPOCHS
    assert checkpoint_bytes > 10e6
    # keeping one checkpoint per epoch would add 20
    assert peak_bytes[-1] - peak_bytes[3] < 5 * checkpoint_bytes


def peaks(folder: str) -> None:
    """Train with a checkpoint of 13 MB after each epoch; write the peak after each."""
    from cnnjobs.training.distributed.checkpoint_files import Progress
    from cnnjobs.training.distributed.checkpoints import Checkpointer
    from cnnjobs.training.distributed.loop import fit
    from cnnjobs.training.distributed.workers import Workers
    from tests.training.distributed.small_models import conv_model, rows

    workers = Workers()
    model = conv_model("adam", width=10_000)
    checkpointer = Checkpointer(
        folder, monitor="val_loss", stateful=[], start=Progress(), workers=workers
    )
    settings = {"epochs": EPOCHS, "global_batch_size": 8, "seed": 0}
    history = fit(model, rows(), rows(11), callbacks=[checkpointer], workers=workers, **settings)
    Path(folder, "peaks.json").write_text(
        json.dumps([epoch["peak_memory_bytes"] for epoch in history])
    )
