"""Conditions such as `view in ("PA", "AP")`: what they select, and what is refused."""

import pyarrow as pa
import pytest

from cnnjobs.data.tables.expressions import Expression
from cnnjobs.errors import InputError

COLUMNS = {
    "view": pa.array(["PA", "AP", "L", None]),
    "age": pa.array([10, 20, 30, None]),
    "No Finding": pa.array([1.0, None, 0.0, 1.0]),
    "AP/PA": pa.array(["AP", "PA", "AP", "LL"]),
    "class": pa.array(["a", "b", "a", "view"]),
    "icu": pa.array([True, False, True, None]),
}


def selected(text):
    mask = Expression("--where", text, COLUMNS).mask(COLUMNS)
    return [row for row, value in enumerate(mask.to_pylist()) if value]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('view in ("PA", "AP")', [0, 1]),
        ('view in ["PA"]', [0]),
        ('view in ("PA")', [0]),
        ('view not in ("PA", "AP")', [2]),
        ("view == 'PA' or age == 30", [0, 2]),
        ("not view == 'PA'", [1, 2]),
        ("age >= 20 and age < 30", [1]),
        ("15 < age <= 30", [1, 2]),
        ("30 == age", [2]),
        ("age > 19.5", [1, 2]),
        ("age != 20", [0, 2]),
        ("age > -1", [0, 1, 2]),
        ("No Finding == 1", [0, 3]),
        ("`No Finding` is None", [1]),
        ("`No Finding` is not None and `AP/PA` == 'AP'", [0, 2]),
        ("AP/PA == 'PA'", [1]),
        ("class == 'view'", [3]),
        ("icu", [0, 2]),
        ("icu == True and age == 10", [0]),
        ("(view == 'PA' or view == 'L') and (age == 10 or age == 30)", [0, 2]),
    ],
)
def test_a_condition_selects_its_rows(text, rows):
    assert selected(text) == rows


FORMS = 'column == 1, column != "text", <, <=, >, >=, in ("a", "b"), is None, and, or, not'


@pytest.mark.parametrize(
    "text",
    [
        "view = 'PA'", "view ==", "", "1 == 1", "age", "age + 1 == 2", "view == age", "age == None",
        "view.upper() == 'PA'", "[age for age in age]", "lambda: age", "age == (1 if age else 2)",
        "view == f'{age}'", "view == b'PA'", "age == 1j", "not " * 5000 + "icu", "(" * 300 + "icu",
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(text):
    with pytest.raises(InputError) as caught:
        selected(text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(f" is not a condition; use {FORMS}.") or "compares age with" in message


@pytest.mark.parametrize("text", ["__import__('os')", "open('x')", "exec == 1", "vieww == 'PA'"])
def test_a_name_that_is_no_column_is_never_looked_up(text):
    with pytest.raises(InputError, match="the table has no column "):
        selected(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age == 'old'", "compares age with 'old', but that column holds numbers, such as '10.0'."),
        ("view == 1", "compares view with 1, but that column holds text, such as 'PA'."),
        ("view in (1, 2)", "compares view with 1, but that column holds text, such as 'PA'."),
    ],
)
def test_a_value_of_another_kind_is_one_line(text, message):
    with pytest.raises(InputError) as caught:
        selected(text)
    assert str(caught.value) == f"--where {text!r} {message}"
