"""Whether a job on this machine has anything to gain from Ray. Nothing here imports Ray."""

import os
import sys
from pathlib import Path

_GPUS = Path("/proc/driver/nvidia/gpus")


def is_needed(address: str | None) -> bool:
    """Whether a cluster is given or runs on this machine, or the machine has GPUs.

    `ray.init` finds a running `ray start --head` by the same file.
    """
    folder = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray")  # noqa: S108 - Ray's own default
    return (
        bool(address or os.environ.get("RAY_ADDRESS"))
        or ("ray" in sys.modules and sys.modules["ray"].is_initialized())
        or (folder / "ray_current_cluster").exists()
        or (_GPUS.is_dir() and any(_GPUS.iterdir()))
    )
