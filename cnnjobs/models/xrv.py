"""Weights of torchxrayvision's DenseNet121 as those of our backbone `xrv-densenet121`.

Cohen et al. 2022, TorchXRayVision: a library of chest X-ray datasets and models (MIDL). The network
is that of Huang et al. 2017, for one gray channel from -1024 to 1024.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnjobs.config import ImportXrvConfig
from cnnjobs.errors import InputError, RunExistsError
from cnnjobs.models import backbones
from cnnjobs.models.keras_backend import import_keras
from cnnjobs.progress import Progress, silent
from cnnjobs.storage import filesystem

if TYPE_CHECKING:
    import keras

#: The architecture that takes the weights.
NAME = "xrv-densenet121"

#: The end of the name of a weights file, by which Keras knows its format.
SUFFIX = ".weights.h5"

#: PyTorch adds the first to a variance before it divides, Keras' network the second.
_EPSILON, _KERAS_EPSILON = 1e-5, 1.001e-5

#: Keras' names of layers outside of the dense blocks.
_OUTER = {"conv1_conv": "conv0", "conv1_bn": "norm0", "bn": "norm5"}

_DENSE_LAYER = re.compile(r"conv(\d)_block(\d+)_([012])_(bn|conv)")
_TRANSITION = re.compile(r"pool(\d)_(bn|conv)")

#: Of normalization, in the order of Keras' weights.
_PARTS = ("weight", "bias", "running_mean", "running_var")

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """The file that was written, and the number of weights in it."""

    output: str
    num_parameters: int


def plan(config: ImportXrvConfig) -> dict[str, Any]:
    """Check the files; what `--dry-run` prints.

    Raises:
        InputError: there is no such file, or the output has another suffix.
        RunExistsError: the output exists.
    """
    output = filesystem.normalize(config.output)
    if not Path(config.model).is_file():
        raise InputError(f"there is no file {config.model}; give a state_dict that PyTorch saved.")
    if filesystem.is_s3(output) or not output.endswith(SUFFIX):
        raise InputError(f"output must be a local file that ends in {SUFFIX}, got {output}.")
    if filesystem.exists(output):
        raise RunExistsError(f"{output} already exists; choose another name.")
    filesystem.check_writable(output.rpartition("/")[0])
    return {"model": NAME, "output": output}


def import_xrv(config: ImportXrvConfig, progress: Progress = silent) -> ImportSummary:
    """Write the weights for `train --model xrv-densenet121 --weights FILE`.

    The classifier is left out: a training has its own.

    Raises:
        InputError: the file does not hold the weights of that network, or PyTorch is missing.
        RunExistsError: the output exists.
    """
    output = plan(config)["output"]
    progress("import", 0, None)
    model = backbone(_arrays(config.model), config.model)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"xrv{SUFFIX}")
        model.save_weights(file)
        filesystem.write_bytes(output, file.read_bytes())
    return ImportSummary(output=output, num_parameters=model.count_params())


def backbone(arrays: Arrays, name: str) -> "keras.Model":
    """(N, 224, 224, 1) float32 from -1024 to 1024 to (N, 1024) features, with these weights.

    Args:
        arrays: of torchxrayvision's `DenseNet`, by their names in PyTorch.
        name: of their file, for errors.

    Raises:
        InputError: an array is missing or has another shape.
    """
    import_keras()
    model: keras.Model = backbones.bare(NAME, 224, 224)(weights=None)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(
                [
                    _array(arrays, source, tuple(weight.shape), name)
                    for source, weight in zip(_sources(layer.name), layer.weights, strict=False)
                ]
            )
    return model


def _sources(layer: str) -> list[str]:
    """The names in PyTorch of a Keras layer's weights, in their order."""
    if layer in _OUTER:
        inner = _OUTER[layer]
    elif found := _TRANSITION.fullmatch(layer):
        block, kind = found.groups()
        inner = f"transition{int(block) - 1}.{'norm' if kind == 'bn' else 'conv'}"
    else:
        found = _DENSE_LAYER.fullmatch(layer)
        assert found is not None, layer
        block, number, place, kind = found.groups()
        # Keras counts both of a layer's normalizations from 0, and its convolutions from 1
        part = f"norm{int(place) + 1}" if kind == "bn" else f"conv{place}"
        inner = f"denseblock{int(block) - 1}.denselayer{number}.{part}"
    return [f"features.{inner}.{part}" for part in _PARTS]


def _array(arrays: Arrays, source: str, shape: tuple[int, ...], name: str) -> NDArray[np.float32]:
    """One array as Keras keeps it: kernels with the channels last, variances for its epsilon."""
    array = arrays.get(source)
    if array is None:
        raise InputError(
            f"{name} has no {source}; give the state_dict of torchxrayvision's DenseNet."
        )
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    if array.shape != shape:
        raise InputError(
            f"{source} in {name} has shape {array.shape}, must be {shape}; give the state_dict of "
            "torchxrayvision's DenseNet for one channel."
        )
    return array + (_EPSILON - _KERAS_EPSILON) if source.endswith("running_var") else array


def _arrays(file: str) -> Arrays:
    """Every array of the file, by its name; no code in it is run."""
    try:
        import torch
    except ImportError:
        raise InputError(
            "importing needs PyTorch, which is not installed: pip install 'cnnjobs[xrv]'."
        ) from None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        return {name: value.float().numpy() for name, value in state.items()}
    except Exception as error:  # whatever a file makes of PyTorch's reader
        raise InputError(
            f"{file} is not a state_dict, which alone is read without running code; with "
            "torchxrayvision: torch.save(xrv.models.DenseNet(weights='densenet121-res224-all')"
            ".state_dict(), 'xrv.pt')."
        ) from error
