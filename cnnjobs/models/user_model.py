"""A user's own model: a function in a Python file, named `file.py:function`."""

import ast
import difflib
import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnjobs.errors import InputError
from cnnjobs.models.layer_names import count_names_anew

if TYPE_CHECKING:
    import keras

#: The module a user's file becomes while it runs.
_MODULE = "cnnjobs_own_model"


@dataclass(frozen=True, kw_only=True)
class OwnModel:
    """The text of the file and the function's name: all it takes to build it anywhere.

    The file stands alone: it may import what is installed where it is built, and no file
    beside it.
    """

    source: str
    function: str
    file_name: str

    @property
    def name(self) -> str:
        """File and function without the folder."""
        return f"{Path(self.file_name).name}:{self.function}"

    def build(self, num_labels: int) -> "keras.Model":
        """Run the file, call `function(num_labels)` and check what it returns.

        What comes back is the model as Keras loads it in safe mode from a file, and so knows
        no code but Keras' own. Keras must have been imported. Errors of the user's own code
        are raised as they are.

        Raises:
            InputError: not a Keras model, not of the shapes of `models.build`, no
                probabilities, or not to be loaded in safe mode.
        """
        model = self._run(num_labels)
        _check_input(self.name, model)
        _check_output(self.name, model, num_labels)
        return count_names_anew(_reloaded(self.name, model))

    def _run(self, num_labels: int) -> Any:
        module = types.ModuleType(_MODULE)
        module.__file__ = self.file_name
        # dataclasses, among others, look for the module they were made in
        sys.modules[_MODULE] = module
        try:
            exec(compile(self.source, self.file_name, "exec"), module.__dict__)
            return module.__dict__[self.function](num_labels)
        finally:
            del sys.modules[_MODULE]


def is_own(name: str) -> bool:
    """Whether `name` is of the form `file.py:function`, or nearly so."""
    return name.rpartition(":")[0].endswith(".py") or name.endswith(".py")


def read(name: str) -> OwnModel:
    """The model that `file.py:function` names, read and parsed but not run.

    Raises:
        InputError: there is no such file or function, or the file is not Python.
    """
    file_name, _, function = (f"{name}:" if name.endswith(".py") else name).rpartition(":")
    try:
        source = Path(file_name).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"there is no file {file_name}; a model of your own is named file.py:function."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file_name} cannot be read as Python ({error}).") from error
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise InputError(f"{file_name} is not Python: {error.msg}, line {error.lineno}.") from error
    except ValueError as error:
        raise InputError(f"{file_name} is not Python: {error}.") from error
    functions = [node.name for node in statements if isinstance(node, ast.FunctionDef)]
    if function not in functions:
        near = difflib.get_close_matches(function, functions, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(functions) or 'none'}."
        raise InputError(f"there is no function {function!r} in {file_name}; {hint}")
    return OwnModel(source=source, function=function, file_name=file_name)


def _check_input(name: str, model: Any) -> None:
    import keras

    if not isinstance(model, keras.Model):
        raise InputError(f"{name} must return a keras.Model, got {type(model).__name__}.")
    # a model that is not built yet has no inputs
    inputs = getattr(model, "inputs", None) or []
    given = ", ".join(f"{_shape(tensor)} {tensor.dtype}" for tensor in inputs) or "none"
    if len(inputs) == 1 and inputs[0].dtype == "uint8" and len(inputs[0].shape) == 4:
        number, height, width, channels = inputs[0].shape
        if number is None and height and width and channels == 1:
            return
    raise InputError(
        f"{name} must have one input, (N, height, width, 1) uint8, got {given}; begin it with "
        "keras.Input((height, width, 1), dtype='uint8')."
    )


def _check_output(name: str, model: Any, num_labels: int) -> None:
    import numpy as np

    num_outputs = 1 if num_labels == 2 else num_labels
    last = f"Dense({num_outputs}, activation='{'sigmoid' if num_labels == 2 else 'softmax'}')"
    given = ", ".join(_shape(tensor) for tensor in model.outputs)
    if given != f"(N, {num_outputs})":
        raise InputError(
            f"{name} must give (N, {num_outputs}) for {num_labels} labels, got {given}; "
            f"end it with {last}."
        )
    black = np.zeros((1, *model.input_shape[1:]), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, black.shape, np.uint8)
    images = np.concatenate([black, black + 255, noise])
    scores = np.asarray(model(images, training=False), np.float32)
    sums = scores.sum(axis=1)
    # half precision sums to 1 within a hundredth
    if scores.min() < 0 or scores.max() > 1 or (num_labels > 2 and np.abs(sums - 1).max() > 0.01):
        raise InputError(
            f"{name} must give probabilities, got scores from {scores.min():.3g} to "
            f"{scores.max():.3g}; end it with {last}."
        )


def _reloaded(name: str, model: Any) -> Any:
    """The model saved and loaded as scoring will load it, where none of the file's code is."""
    import keras

    registered = keras.saving.get_custom_objects()
    kept = dict(registered)
    registered.clear()
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            model.save(file)
            return keras.saving.load_model(file, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        # the first sentence of what Keras met, which it wraps for every model around the layer
        met = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
        reason = met.split(". ")[0].rstrip(".")
        raise InputError(
            f"{name} cannot be loaded in Keras' safe mode ({reason}); use Keras' own layers, "
            "no Lambda and no class of your own."
        ) from error
    finally:
        registered.update(kept)


def _shape(tensor: Any) -> str:
    """The shape as text, with N for the number of images."""
    first, *rest = tensor.shape
    return f"({', '.join(str(part) for part in ('N' if first is None else first, *rest))})"
