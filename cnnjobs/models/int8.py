"""Post-training quantization of an OpenVINO network to int8, with NNCF.

Weights and activations of convolutions and dense layers become integers of 8 bits. Their ranges
come from calibration images (Krishnamoorthi 2018, arXiv:1806.08342, section 3).
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnnjobs.errors import InputError
from cnnjobs.models.engines import Images, Scores
from cnnjobs.models.openvino_export import WEIGHTS, XML
from cnnjobs.models.openvino_import import import_openvino, without_telemetry

#: Images scored at once during calibration.
_BATCH_SIZE = 8


def require() -> None:
    """Raise InputError if NNCF is not installed."""
    try:
        with without_telemetry():
            import nncf  # noqa: F401
    except ImportError as error:
        raise InputError(
            "cnnjobs quantize needs NNCF; install it with: pip install 'cnnjobs[quantize]'."
        ) from error


def quantize(
    network: bytes,
    weights: bytes,
    images: Images,
    *,
    validation: tuple[Images, Callable[[Scores], float]] | None = None,
    max_drop: float = 0.0,
) -> dict[str, bytes]:
    """The files of a quantized network.

    Args:
        network: XML in OpenVINO's format.
        weights: of the network.
        images: (N, height, width, 1) to calibrate on.
        validation: images, and what turns their scores into an accuracy. Layers then go back to
            float32, the most harmful first, until the accuracy has dropped by `max_drop` at most.
        max_drop: of the accuracy.
    """
    openvino = import_openvino()
    with without_telemetry():
        import nncf

    nncf.set_log_level("ERROR")
    core = openvino.Core()
    model = core.read_model(model=network, weights=weights)
    calibration = nncf.Dataset(_batches(images))
    # it draws progress bars of its own
    with without_telemetry(), contextlib.redirect_stdout(io.StringIO()):
        if validation is None:
            quantized = nncf.quantize(model, calibration, subset_size=len(images))
        else:
            validated, accuracy = validation

            def accuracy_of(compiled: Any, batches: Any) -> float:
                return accuracy(np.concatenate([compiled([batch])[0] for batch in batches]))

            quantized = nncf.quantize_with_accuracy_control(
                model,
                calibration,
                nncf.Dataset(_batches(validated)),
                accuracy_of,
                max_drop=max_drop,
                subset_size=len(images),
            )
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(quantized, str(Path(folder, XML)), compress_to_fp16=False)
        return {name: Path(folder, name).read_bytes() for name in (XML, WEIGHTS)}


def _batches(images: Images) -> list[Images]:
    return [images[start : start + _BATCH_SIZE] for start in range(0, len(images), _BATCH_SIZE)]
