"""From a bundle to a section: what the model is."""

import dataclasses
from typing import TYPE_CHECKING

from cnnjobs.models.bundle import Bundle
from cnnjobs.report.blocks import Detail, Section, shown, shown_values

if TYPE_CHECKING:
    import keras

#: Layers of a model that are listed; a DenseNet has hundreds.
_MAX_LAYERS = 60


def model_section(bundle: Bundle | None, network: "keras.Model | None") -> Section | None:
    """What the bundle says, and its layers."""
    if bundle is None:
        return None
    size = bundle.preprocessing
    facts = {
        "Architecture": bundle.architecture,
        "Input": f"{size.height} x {size.width} pixels, gray",
        "Classes": ", ".join(bundle.labels),
        **({"Positive class": bundle.positive} if bundle.positive is not None else {}),
        **({"Threshold": shown(bundle.threshold)} if bundle.positive is not None else {}),
        "Temperature": shown(bundle.temperature) if bundle.temperature != 1 else "none",
        **({"Parameters": f"{network.count_params():,}"} if network is not None else {}),
        "Made": bundle.created,
        "Bundle": bundle.uri,
    }
    return Section(
        name="model",
        title="Model",
        facts=facts,
        details=[
            *([Detail(title="Layers", facts=_layers(network))] if network is not None else []),
            Detail(
                title="From a file to pixels",
                facts=shown_values(dataclasses.asdict(bundle.preprocessing)),
            ),
        ],
    )


def _layers(network: "keras.Model") -> dict[str, str]:
    """What each layer gives, and the parameters it has."""
    told = {
        f"{layer.name} ({type(layer).__name__})": (
            f"{_shape(layer)}, {layer.count_params():,} parameters"
        )
        for layer in network.layers[:_MAX_LAYERS]
    }
    more = len(network.layers) - _MAX_LAYERS
    return told | ({"…": f"{more} more layers"} if more > 0 else {})


def _shape(layer: "keras.Layer") -> str:
    sides = layer.output.shape[1:]
    return " x ".join(str(side) for side in sides)
