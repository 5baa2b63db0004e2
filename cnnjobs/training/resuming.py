"""The run that `train`, `tune` or `crossval` continues."""

from collections.abc import Collection, Mapping
from typing import Any

from cnnjobs.cluster import spilling
from cnnjobs.config import CrossvalConfig, TrainConfig, TuneConfig, as_dict, defaults
from cnnjobs.storage import run_dir
from cnnjobs.storage.run_dir import Run


def find(
    config: TrainConfig | TuneConfig | CrossvalConfig,
    output: str,
    command: str,
    facts: Mapping[str, Any],
    *,
    free: Collection[str],
    unrecorded: Mapping[str, Any] | None = None,
) -> Run | None:
    """The run to continue, if `resume` is on and the output holds one; see `run_dir.find_same`.

    Args:
        config: the settings.
        output: the run directory.
        command: of the run.
        facts: what the result depends on besides the settings.
        free: settings that do not change the result.
        unrecorded: what to take for facts that the run does not record.
    """
    if not config.resume:
        return None
    settings = {name: value for name, value in as_dict(config).items() if name not in free}
    return run_dir.find_same(
        output,
        command,
        {**settings, **facts},
        defaults={**defaults(type(config)), **(unrecorded or {})},
        spilled_bytes=spilling.reported,
    )
