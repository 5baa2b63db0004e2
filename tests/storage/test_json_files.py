"""JSON as it is written: strict, so that every reader takes it."""

import ast
import dataclasses
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnnjobs
from cnnjobs.storage import json_files

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
)


def _refuse(name: str) -> None:
    raise ValueError(name)


@given(VALUES)
def test_every_value_is_written_as_strict_json(value: object) -> None:
    text = json_files.text({"value": value})
    text.encode()
    json.loads(text, parse_constant=_refuse)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_null_however_deep(value: float) -> None:
    @dataclasses.dataclass
    class Row:
        values: tuple[float, ...]

    assert json.loads(json_files.text({"rows": [Row((1.5, value))]})) == {
        "rows": [{"values": [1.5, None]}]
    }


def test_a_time_is_written_in_iso_form() -> None:
    time = datetime(2026, 1, 2, tzinfo=UTC)
    assert json.loads(json_files.text({"time": time})) == {"time": "2026-01-02T00:00:00+00:00"}


def test_finite_values_are_written_as_by_json_itself() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"ü": "x"}}
    assert json_files.text(value) == json.dumps(value, indent=2)
    assert json_files.text(value, indent=None) == json.dumps(value)


def test_no_other_module_writes_json() -> None:
    package = Path(cnnjobs.__file__).parent
    found = []
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dump", "json.dumps"):
                found.append(name)
            if isinstance(node, ast.ImportFrom) and node.module == "json":
                found.append(name)
    assert found == ["storage/json_files.py"]


def test_programs_for_other_machines_write_strict_json() -> None:
    text = Path(cnnjobs.__file__).parent.joinpath("cluster", "probe.py").read_text()
    assert text.count("json.dumps(") == text.count("allow_nan=False") == 2
