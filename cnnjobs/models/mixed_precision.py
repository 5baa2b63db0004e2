"""Models that compute in 16 bits, in which GPUs are several times as fast."""

from typing import TYPE_CHECKING, Any

from cnnjobs.errors import InputError

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


def with_float32_scores(model: "keras.Model") -> "keras.Model":
    """The same model and weights, with a last layer that computes in float32.

    In 16 bits a probability near 0 or 1 is exactly that, and Keras loses the logits from which it
    would compute the loss: a certain and wrong answer would have no gradient.

    Raises:
        InputError: the last layer is itself a model, whose layers have precisions of their own.
    """
    if model.outputs[0].dtype == "float32":
        return model
    config = model.get_config()
    # of a sequential model the last; of others Keras names it, in one list or in a list of lists
    last = config.get("output_layers", [config["layers"][-1]["config"]["name"]])
    while isinstance(last, list):
        last = last[0]
    for layer in config["layers"]:
        if layer["config"].get("name") == last:
            layer["config"]["dtype"] = "float32"
    rebuilt = type(model).from_config(config)
    rebuilt.set_weights(model.get_weights())
    if rebuilt.outputs[0].dtype != "float32":
        raise InputError(
            f"the last layer of {model.name} computes in {model.outputs[0].dtype}; give it "
            "dtype='float32', or train without mixed_precision."
        )
    return rebuilt
