"""Layer names that do not depend on the models built before in the same process."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def with_reset_names(model: "keras.Model") -> "keras.Model":
    """The same model and weights, with the automatic names of layers numbered from the start.

    Keras numbers unnamed layers by class across the whole process (`conv2d_7`), and the fingerprint
    of a model includes the names. A layer that was given such a name on purpose is renumbered too.
    """
    config = {"class_name": type(model).__name__, "config": model.get_config()}
    counts: Counter[str] = Counter()
    new_names = {}
    # the sort puts a name without a number first, which keeps it: words that are also names,
    # such as "relu" of an activation, are never replaced
    for prefix, _, name in sorted(set(_automatic(config))):
        new_names[name] = f"{prefix}_{counts[prefix]}" if counts[prefix] else prefix
        counts[prefix] += 1
    renamed = type(model).from_config(_replaced(config["config"], new_names))
    renamed.set_weights(model.get_weights())
    return renamed


def _automatic(config: Any) -> Iterator[tuple[str, int, str]]:
    """Yield (prefix, number, name) of each name derived from its class, such as `re_lu_3`."""
    if isinstance(config, (list, tuple)):
        for part in config:
            yield from _automatic(part)
    if not isinstance(config, dict):
        return
    inner = config.get("config")
    if isinstance(inner, dict) and isinstance(inner.get("name"), str):
        name = inner["name"]
        prefix, _, number = name.rpartition("_")
        if not number.isdecimal():
            prefix, number = name, "0"
        if prefix.replace("_", "") == str(config["class_name"]).lower():
            yield prefix, int(number), name
    for part in config.values():
        yield from _automatic(part)


def _replaced(config: Any, new_names: dict[str, str]) -> Any:
    """`config` with every string that equals an old name replaced."""
    if isinstance(config, dict):
        return {key: _replaced(part, new_names) for key, part in config.items()}
    if isinstance(config, (list, tuple)):
        return [_replaced(part, new_names) for part in config]
    return new_names.get(config, config) if isinstance(config, str) else config
