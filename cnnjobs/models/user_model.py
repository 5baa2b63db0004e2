"""A user's own model: a function in a Python file, given as `file.py:function`."""

import ast
import difflib
import re
import sys
import tempfile
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnjobs.errors import InputError
from cnnjobs.models.layer_names import with_reset_names
from cnnjobs.storage.arrow_start import with_pandas

if TYPE_CHECKING:
    import keras

#: How Keras begins an error in a layer, and how it colors it.
_IN_LAYER = re.compile(r"Exception encountered when calling (\w+)\.call\(\)\. ")
_COLORS = re.compile("\x1b\\[[0-9;]*m")

#: Name of the module while a user's file runs.
_MODULE = "cnnjobs_user_model"


@dataclass(frozen=True, kw_only=True)
class UserModel:
    """The text of the file and the name of the function: enough to build the model anywhere.

    The file must be self-contained: it may import installed packages, but no other file next to
    it.
    """

    source: str
    function: str
    file_name: str

    @property
    def name(self) -> str:
        """File and function, without the folder."""
        return f"{Path(self.file_name).name}:{self.function}"

    def build(self, num_labels: int) -> "keras.Model":
        """Run the file, call `function(num_labels)` and check the result.

        Returns the model as Keras loads it from a file in safe mode, which contains no code but
        Keras' own. Keras must be imported.

        Raises:
            InputError: the user's code raises an error; or not a Keras model, not with the shapes
                of `models.build`, without probabilities as outputs, with nothing to train, or not
                loadable in safe mode.
        """
        model = self._run(num_labels)
        _check_input(self.name, model)
        _check_output(self.name, model, num_labels)
        return with_reset_names(_reloaded(self.name, model))

    def _run(self, num_labels: int) -> Any:
        module = types.ModuleType(_MODULE)
        module.__file__ = self.file_name
        # dataclasses, among others, look up the module they were defined in
        sys.modules[_MODULE] = module
        with_pandas()
        try:
            # the operator's own file: SECURITY.md
            exec(compile(self.source, self.file_name, "exec"), module.__dict__)  # noqa: S102
            return module.__dict__[self.function](num_labels)
        except (Exception, SystemExit) as error:
            # a user's code can raise anything
            raise InputError(_complaint(self.name, "be built", error, self.file_name)) from error
        finally:
            del sys.modules[_MODULE]


def is_user_model(name: str) -> bool:
    """Whether `name` has the form `file.py:function`, or almost."""
    return name.rpartition(":")[0].endswith(".py") or name.endswith(".py")


def read(name: str) -> UserModel:
    """The model named by `file.py:function`; the file is parsed but not run.

    Raises:
        InputError: there is no such file or function, or the file is not Python.
    """
    file_name, _, function = (f"{name}:" if name.endswith(".py") else name).rpartition(":")
    try:
        source = Path(file_name).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"there is no file {file_name}; name your own model as file.py:function."
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
        similar = difflib.get_close_matches(function, functions, n=1)
        hint = (
            f"did you mean {similar[0]}?"
            if similar
            else f"it has {', '.join(functions) or 'none'}."
        )
        raise InputError(f"there is no function {function!r} in {file_name}; {hint}")
    return UserModel(source=source, function=function, file_name=file_name)


def _check_input(name: str, model: Any) -> None:
    import keras

    if not isinstance(model, keras.Model):
        raise InputError(f"{name} must return a keras.Model, got {type(model).__name__}.")
    # a model that has not been built has no inputs
    inputs = getattr(model, "inputs", None) or []
    found = ", ".join(f"{_shape(tensor)} {tensor.dtype}" for tensor in inputs) or "none"
    if len(inputs) == 1 and inputs[0].dtype == "uint8" and len(inputs[0].shape) == 4:
        number, height, width, channels = inputs[0].shape
        if number is None and height and width and channels == 1:
            return
    raise InputError(
        f"{name} must have one input, (N, height, width, 1) uint8, got {found}; start it with "
        "keras.Input((height, width, 1), dtype='uint8')."
    )


def _check_output(name: str, model: Any, num_labels: int) -> None:
    import numpy as np

    num_outputs = 1 if num_labels == 2 else num_labels
    last = f"Dense({num_outputs}, activation='{'sigmoid' if num_labels == 2 else 'softmax'}')"
    found = ", ".join(_shape(tensor) for tensor in model.outputs)
    if found != f"(N, {num_outputs})":
        raise InputError(
            f"{name} must return (N, {num_outputs}) for {num_labels} labels, got {found}; "
            f"end it with {last}."
        )
    black = np.zeros((1, *model.input_shape[1:]), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, black.shape, np.uint8)
    images = np.concatenate([black, black + 255, noise])
    scores = _scored(name, model, images)
    sums = scores.sum(axis=1)
    # in half precision, sums are within 0.01 of 1
    is_share = scores.min() >= 0 and scores.max() <= 1
    if not is_share or (num_labels > 2 and np.abs(sums - 1).max() > 0.01):
        raise InputError(
            f"{name} must return probabilities, got scores from {scores.min():.3g} to "
            f"{scores.max():.3g}; end it with {last}."
        )


def _scored(name: str, model: Any, images: Any) -> Any:
    """The scores of images, once it is known that training can change them."""
    import numpy as np
    import tensorflow as tf

    if not model.trainable_weights:
        raise InputError(
            f"{name} has no weights to train; leave at least its last layer trainable."
        )
    try:
        with tf.GradientTape() as tape:
            scores = model(images, training=False)
        gradients = tape.gradient(scores, model.trainable_variables)
    except Exception as error:
        # the layers of Keras and TensorFlow raise errors of many kinds
        raise InputError(_complaint(name, "score images", error)) from error
    if all(gradient is None for gradient in gradients):
        raise InputError(
            f"{name} cannot be trained: no weight has a gradient; leave out layers that round or "
            "choose, and end it with probabilities."
        )
    return np.asarray(scores, np.float32)


def _complaint(name: str, what: str, error: BaseException, file_name: str | None = None) -> str:
    """Why a model cannot do something, in one line, with the line of the user's file if known."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file_name
    ]
    text = " ".join(_COLORS.sub("", str(error)).split())
    layer = _IN_LAYER.match(text)
    if layer is not None and "uint8" in text:
        return (
            f"{name} gives bytes to {layer[1]}, which computes with floats; begin with "
            "layers.Rescaling(1 / 255)."
        )
    reason = _IN_LAYER.sub("", text).split(". ")[0].rstrip(".") or type(error).__name__
    if lines:
        return f"{name} cannot {what}: {reason} (line {lines[-1]})."
    hint = "; it is called with the number of labels" if file_name is not None else ""
    return f"{name} cannot {what}: {reason}{hint}."


def _reloaded(name: str, model: Any) -> Any:
    """The model, saved and loaded as in scoring, where the code of the file does not exist."""
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
        # the first sentence of the original error, which Keras wraps once per enclosing model
        original = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
        reason = original.split(". ")[0].rstrip(".")
        raise InputError(
            f"{name} cannot be loaded in Keras' safe mode ({reason}); use only Keras' own layers, "
            "without Lambda layers and custom classes."
        ) from error
    finally:
        registered.update(kept)


def _shape(tensor: Any) -> str:
    """The shape as text, with N for the number of images."""
    first, *rest = tensor.shape
    return f"({', '.join(str(part) for part in ('N' if first is None else first, *rest))})"
