"""Names of layers that do not depend on what the process has built before."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def count_names_anew(model: "keras.Model") -> "keras.Model":
    """The same model and weights, with the names that Keras gave counted from the first.

    Keras numbers layers without a name by class over the whole process (`conv2d_7`), and a
    model's fingerprint covers the names. A layer that was named like that on purpose is
    counted with the rest.
    """
    config = {"class_name": type(model).__name__, "config": model.get_config()}
    counts: Counter[str] = Counter()
    new_names = {}
    # sorted by number, a name without one keeps it: words that are names as well, such as
    # an activation's "relu", are never replaced
    for prefix, _, name in sorted(set(_automatic(config))):
        new_names[name] = f"{prefix}_{counts[prefix]}" if counts[prefix] else prefix
        counts[prefix] += 1
    renamed = type(model).from_config(_replaced(config["config"], new_names))
    renamed.set_weights(model.get_weights())
    return renamed


def _automatic(config: Any) -> Iterator[tuple[str, int, str]]:
    """Yield (prefix, number, name) of each name made of its class, such as `re_lu_3`."""
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
    """`config` with every string that is a name replaced."""
    if isinstance(config, dict):
        return {key: _replaced(part, new_names) for key, part in config.items()}
    if isinstance(config, (list, tuple)):
        return [_replaced(part, new_names) for part in config]
    return new_names.get(config, config) if isinstance(config, str) else config
