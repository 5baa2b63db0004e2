"""A model with float16 arithmetic, in which GPUs are several times as fast."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def in_mixed_precision(model: "keras.Model") -> "keras.Model":
    """The same model and weights, with float16 arithmetic in all layers but the first and last.

    Weights stay in float32, and so do the scaling of pixels (1/255 has 11 bits in float16) and the
    probabilities (as NVIDIA and Keras advise). Probabilities change by about 1e-3.
    """
    first = {"Rescaling", "InputLayer"}
    last = model.layers[-1].name

    def policy(layer: dict[str, Any]) -> dict[str, Any]:
        inner = {**layer["config"]}
        if layer["class_name"] not in first and inner.get("name") != last and "dtype" in inner:
            inner["dtype"] = "mixed_float16"
        return {**layer, "config": inner}

    config = model.get_config()
    config["layers"] = [policy(layer) for layer in config["layers"]]
    mixed = type(model).from_config(config)
    mixed.set_weights(model.get_weights())
    return mixed
