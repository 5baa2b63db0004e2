"""OpenVINO's converter on every Python that we support."""

import builtins
import inspect

import pytest

from cnnjobs import models
from cnnjobs.models.openvino_import import converting


def test_the_converter_runs_where_exec_binds_no_names_in_a_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As since Python 3.13 (PEP 667), where every training ended with a NameError."""
    from openvino.frontend.tensorflow import utils

    def as_in_3_13(source: str) -> None:
        builtins.exec(source, {}, {})

    monkeypatch.setattr(utils, "exec", as_in_3_13, raising=False)
    models.import_keras()
    with pytest.raises(NameError):
        utils.get_environment_setup("tf")

    with converting():
        found = utils.get_environment_setup("tf")

    assert found["tensorflow"]
    assert utils.exec is as_in_3_13


def test_the_workaround_can_go_when_this_fails() -> None:
    from openvino.frontend.tensorflow import utils

    assert 'exec("del tensorflow")' in inspect.getsource(utils.get_environment_setup)
