"""From a bundle to a section: what the model is."""

import dataclasses
from typing import TYPE_CHECKING

from cnnjobs.models.bundle import Bundle
from cnnjobs.reporting.blocks import Detail, Section, to_text, to_texts

if TYPE_CHECKING:
    import keras

#: Layers that are listed; a DenseNet has hundreds.
_MAX_LAYERS = 60


def model_section(bundle: Bundle | None, network: "keras.Model | None") -> Section | None:
    """Architecture, input, classes and threshold, with layers and preprocessing folded."""
    if bundle is None:
        return None
    size = bundle.preprocessing
    facts = {
        "Architecture": bundle.architecture,
        "Input": f"{size.height} x {size.width} pixels, gray",
        "Classes": ", ".join(bundle.labels),
        **({"Positive class": bundle.positive} if bundle.positive is not None else {}),
        **({"Threshold": to_text(bundle.threshold)} if bundle.positive is not None else {}),
        "Temperature": to_text(bundle.temperature) if bundle.temperature != 1 else "none",
        **({"Parameters": f"{network.count_params():,}"} if network is not None else {}),
        "Created": bundle.created,
        "Bundle": bundle.uri,
    }
    return Section(
        name="model",
        title="Model",
        facts=facts,
        details=[
            *([Detail(title="Layers", facts=_layers(network))] if network is not None else []),
            Detail(title="Preprocessing", facts=to_texts(dataclasses.asdict(bundle.preprocessing))),
        ],
    )


def _layers(network: "keras.Model") -> dict[str, str]:
    """Output shape and number of parameters of each layer."""
    layers = {
        f"{layer.name} ({type(layer).__name__})": (
            f"{_output_shape(layer)}, {layer.count_params():,} parameters"
        )
        for layer in network.layers[:_MAX_LAYERS]
    }
    num_more = len(network.layers) - _MAX_LAYERS
    return layers | ({"…": f"{num_more} more layers"} if num_more > 0 else {})


def _output_shape(layer: "keras.Layer") -> str:
    return " x ".join(str(side) for side in layer.output.shape[1:])
