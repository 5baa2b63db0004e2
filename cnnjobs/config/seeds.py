"""The seed of everything random in a job, by what is drawn, as `run.json` records it.

How each is used is described in docs/training.md, "Repeatable". None: it was not drawn.
"""

from typing import Any

from cnnjobs.config.inference import AuditConfig, EvaluateConfig
from cnnjobs.config.training import CrossvalConfig, TrainConfig, TuneConfig


def of_training(config: TrainConfig | TuneConfig, *, split: int | None) -> dict[str, Any]:
    """Those of one training on the splits of a manifest, or of a search, whose trials share them.

    Args:
        config: the settings.
        split: the seed of the splits; see `Manifest.split_seed`.
    """
    seeds: dict[str, Any] = {**_of_model(config, config.seed), "split": split}
    if isinstance(config, TuneConfig):
        seeds["settings of trials"] = config.seed
    return seeds


def of_crossval(config: CrossvalConfig) -> dict[str, Any]:
    """Those of every repeat, by the number of the repeat, and of the trainings without a source."""
    repeats = range(config.repeats) if config.folds else ()
    seeds: dict[str, Any] = {
        f"repeat {repeat + 1}": _of_cut(config, config.seed + repeat) for repeat in repeats
    }
    if config.leave_out is not None:
        seeds["left out"] = {**_of_cut(config, config.seed), "bootstrap": config.seed}
    return seeds


def of_evaluation(config: EvaluateConfig, *, split: int | None, audited: bool) -> dict[str, Any]:
    """Those of an evaluation; every set that is tested beside has a bootstrap of its own."""
    drawn = [config.seed + number for number in range(1 + len(config.beside))]
    seeds: dict[str, Any] = {
        "bootstrap": drawn if config.resamples else None,
        "sample images": config.seed,
        "split": split,
    }
    if audited:
        seeds["audit"] = _of_audit(config)
    return seeds


def of_audit(config: AuditConfig, *, split: int | None) -> dict[str, Any]:
    """Those of an audit."""
    return {**_of_audit(config), "split": split}


def _of_model(config: TrainConfig | TuneConfig, seed: int) -> dict[str, Any]:
    return {
        "weights": seed,
        "order": seed,
        "dropout": seed,
        "augmentation": seed if config.augment != "off" else None,
    }


def _of_cut(config: CrossvalConfig, seed: int) -> dict[str, Any]:
    return {**_of_model(config, seed), "folds and validation": seed}


def _of_audit(config: EvaluateConfig | AuditConfig) -> dict[str, Any]:
    return {
        "sample of a large set": config.seed,
        "shuffled pixels": config.seed,
        "folds of the baseline": config.seed,
        "bootstrap": config.seed if config.resamples else None,
    }
