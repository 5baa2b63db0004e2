"""The space of settings that a search draws from, and the draws."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnjobs.config import TrainConfig, TuneConfig
from cnnjobs.config.files import checked_key, checked_value, read_yaml
from cnnjobs.errors import ConfigError
from cnnjobs.storage import json_files

KINDS = ("choice", "uniform", "loguniform", "randint")

#: Settings that say where and how to train, how trials are compared, or how images are decoded,
#: which happens once for all trials.
_FIXED = (
    "data", "output", "recipe", "positive", "init", "epochs", "monitor", "keep", "threshold_rule",
    "calibrate", "workers", "gpus_per_worker", "crop", "mask_corners", "equalize", "cache",
    "max_failures", "mlflow", "address", "resume", "overwrite",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Range:
    """The range that one setting is drawn from.

    Attributes:
        kind: choice, uniform, loguniform or randint.
        values: the choices, or low and high; randint includes high.
    """

    kind: str
    values: Sequence[Any]

    def draw(self, random: np.random.Generator) -> Any:
        """Draw one value."""
        if self.kind == "choice":
            return self.values[int(random.integers(len(self.values)))]
        low, high = self.values
        if self.kind == "randint":
            return int(random.integers(low, high, endpoint=True))
        if self.kind == "loguniform":
            return float(math.exp(random.uniform(math.log(low), math.log(high))))
        return float(random.uniform(low, high))


def read(config: TuneConfig) -> dict[str, Range]:
    """Read the space file: a range for each setting.

    Raises:
        ConfigError: the file cannot be read, is empty, or has an unknown setting or a range
            that is not valid for the setting.
    """
    file = Path(config.space)
    content = read_yaml(file)
    names = [field.name for field in dataclasses.fields(TrainConfig) if field.name not in _FIXED]
    if not content:
        raise ConfigError(
            f"{file} is empty; write lines such as `learning_rate: {{loguniform: [1e-5, 1e-2]}}`."
        )
    space = {}
    for name, value in content.items():
        key = str(name)
        if key in _FIXED:
            raise ConfigError(f"{file}: {key} cannot be searched; known: {', '.join(names)}.")
        space[key] = _range(file, checked_key(file, key, names), value)
    for key, drawn_from in space.items():
        for extreme in drawn_from.values:
            _check_possible(config, file, space, {key: extreme})
    return space


def digest(settings: Sequence[Mapping[str, Any]]) -> str:
    """16 hex digits that depend on the settings of all trials."""
    text = json_files.text(settings, indent=None, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_possible(
    config: TuneConfig, file: Path, space: Mapping[str, Range], setting: Mapping[str, Any]
) -> None:
    """Raise unless the setting is valid by itself, or with a value of another one in the space.

    A weight decay, for example, is valid only with some of the optimizers.
    """
    others = [{name: value} for name, item in space.items() for value in item.values]
    errors = []
    for other in ({}, *others):
        try:
            config.of_a_trial(**{**other, **setting})
        except ConfigError as error:
            errors.append(error)
        else:
            return
    raise ConfigError(f"{file}: {errors[0]}") from errors[0]


def draw(space: Mapping[str, Range], *, seed: int, trials: int) -> list[dict[str, Any]]:
    """The settings of each trial; they depend only on the space, the seed and its number."""
    return [
        {name: space[name].draw(np.random.default_rng([seed, number, *name.encode()]))
         for name in space}
        for number in range(1, trials + 1)
    ]  # fmt: skip


def _range(file: Path, key: str, value: Any) -> Range:
    if not isinstance(value, dict) or len(value) != 1:
        raise ConfigError(
            f"{file}: {key} must be one of {{choice: [..]}}, {{uniform: [low, high]}}, "
            f"{{loguniform: [low, high]}} or {{randint: [low, high]}}, got {value!r}."
        )
    ((kind, values),) = value.items()
    if kind not in KINDS:
        raise ConfigError(f"{file}: {key} must be one of {', '.join(KINDS)}, got {kind!r}.")
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{file}: {key} needs a list of values after {kind}, got {values!r}.")
    if kind == "choice":
        checked = [checked_value(TrainConfig, file, key, item) for item in values]
        return Range(kind=kind, values=checked)
    return Range(kind=kind, values=_bounds(file, key, kind, values))


def _bounds(file: Path, key: str, kind: str, values: Sequence[Any]) -> list[Any]:
    # checked_value accepts 1e-5, which YAML reads as text, and rejects numbers for text settings
    low_high = [checked_value(TrainConfig, file, key, item) for item in values]
    numbers = [item for item in low_high if type(item) in (int, float) and math.isfinite(item)]
    if len(low_high) != 2 or len(numbers) != 2 or numbers[0] >= numbers[1]:
        raise ConfigError(
            f"{file}: {key} needs two numbers after {kind}, the lower first, got {values!r}."
        )
    if kind == "loguniform" and numbers[0] <= 0:
        raise ConfigError(f"{file}: {key} needs numbers above 0 after {kind}, got {values!r}.")
    are_whole = all(type(item) is int for item in numbers)
    if kind == "randint" and not are_whole:
        raise ConfigError(
            f"{file}: {key} is not a whole number; draw it with uniform or loguniform."
        )
    if kind != "randint" and are_whole:
        raise ConfigError(f"{file}: {key} is a whole number; draw it with randint or choice.")
    return numbers
