"""Weights of torchxrayvision in our backbone: the same features from the same pixels."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnjobs import models
from cnnjobs.config import ImportXrvConfig
from cnnjobs.errors import InputError, RunExistsError
from cnnjobs.models.xrv import NAME, import_xrv

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'cnnjobs[xrv]'")


#: The original network with random weights, and the statistics that follow from them, makes the
#: files `xrv.pt`, `model.pt`, `pixels.npy` and `features.npy`.
_ORIGINAL = """
import numpy as np
import torch
import torchxrayvision as xrv

torch.manual_seed(0)
made = xrv.models.DenseNet(weights=None, num_classes=18, in_channels=1)
for layer in made.modules():
    if isinstance(layer, torch.nn.BatchNorm2d):
        torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
        torch.nn.init.normal_(layer.bias, 0, 0.1)
        # the statistics of the last batch
        layer.momentum = 1.0
pixels = np.random.default_rng(0).integers(0, 256, (4, 224, 224), np.uint8)
scaled = torch.from_numpy(np.stack([xrv.utils.normalize(each, 255) for each in pixels]))
with torch.no_grad():
    made.train()(1024 * (2 * torch.rand(8, 1, 224, 224) - 1))
    features = made.eval().features2(scaled[:, None]).numpy()
torch.save(made.state_dict(), "xrv.pt")
torch.save(made, "model.pt")
np.save("pixels.npy", pixels)
np.save("features.npy", features)
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with these files.

    Made in another process: torchvision imports Triton, which crashes where TensorFlow is loaded.
    """
    if importlib.util.find_spec("torchxrayvision") is None:
        pytest.skip("torchxrayvision is not installed: pip install torchxrayvision")
    folder = tmp_path_factory.mktemp("xrv")
    subprocess.run([sys.executable, "-c", _ORIGINAL], cwd=folder, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def saved(original: Path) -> Path:
    return original / "xrv.pt"


@pytest.fixture(scope="module")
def imported(saved: Path) -> Path:
    file = saved.with_name("xrv.weights.h5")
    assert import_xrv(ImportXrvConfig(model=str(saved), output=str(file))).num_parameters > 6e6
    return file


def test_the_features_of_an_image_are_those_of_the_original(original: Path, imported: Path) -> None:
    import keras

    expected = np.load(original / "features.npy")
    pixels = np.load(original / "pixels.npy")

    model = models.build(NAME, 2, weights=str(imported))
    assert model.count_params() == models.ARCHITECTURES[NAME].num_parameters
    features = keras.Model(model.input, model.get_layer("avg_pool").output)
    found = features.predict(pixels[..., np.newaxis], verbose=0)

    difference = float(np.abs(found - expected).max())
    print(f"largest difference {difference:.1e}, largest feature {expected.max():.2f}")  # noqa: T201
    assert expected.std() > 0.1
    assert difference < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.norm5.bias"), r"has no features\.norm5\.bias; give the"),
        (
            lambda state: state.update({"features.conv0.weight": torch.zeros(64, 3, 7, 7)}),
            r"features\.conv0\.weight in .* has shape \(7, 7, 3, 64\), must be \(7, 7, 1, 64\);",
        ),
    ],
    ids=["missing", "three channels"],
)
def test_weights_of_another_network_are_refused(
    saved: Path, tmp_path: Path, change: Any, message: str
) -> None:
    state = torch.load(saved, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(InputError, match=message):
        _import(tmp_path / "other.pt", tmp_path / "other.weights.h5")
    assert [file.name for file in tmp_path.iterdir()] == ["other.pt"]


class _Code:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("content", ["code", "text", "empty", "a model"])
def test_files_that_are_no_state_dict_run_no_code(
    original: Path, tmp_path: Path, content: str
) -> None:
    file, marker = tmp_path / "hostile.pt", tmp_path / "ran"
    match content:
        case "code":
            torch.save({"features.conv0.weight": _Code(marker)}, file)
        case "a model":
            shutil.copy(original / "model.pt", file)
        case _:
            file.write_text("" if content == "empty" else "weights")
    with pytest.raises(InputError, match=r"is not a state_dict, which alone is read without") as no:
        _import(file, tmp_path / "out.weights.h5")
    assert "\n" not in str(no.value)
    assert [each.name for each in tmp_path.iterdir()] == ["hostile.pt"]


def test_outputs_that_cannot_be_written_are_refused(saved: Path, imported: Path) -> None:
    with pytest.raises(InputError, match=r"must be a local file that ends in \.weights\.h5, got"):
        _import(saved, saved.with_suffix(".h5"))
    with pytest.raises(RunExistsError, match="already exists; choose another name"):
        _import(saved, imported)
    with pytest.raises(InputError, match="there is no file"):
        _import(saved.with_name("none.pt"), saved.with_name("none.weights.h5"))


def test_imagenet_weights_do_not_fit() -> None:
    with pytest.raises(InputError, match="takes a file that `cnnjobs import xrv` wrote, got image"):
        models.build(NAME, 2, weights="imagenet")


def _import(file: Path, output: Path) -> None:
    import_xrv(ImportXrvConfig(model=str(file), output=str(output)))
