"""Processes that start without pandas."""

import pytest

from tests.support.cli import run_python


def run(code: str) -> list[str]:
    """What a process of its own prints."""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_pyarrow_still_imports_pandas_for_any_array() -> None:
    """When this fails, `without_pandas` can go (apache/arrow#34994)."""
    code = "import sys, pyarrow as pa; pa.array([1]); print('pandas' in sys.modules)"
    assert run(code) == ["True"]


def test_the_first_array_is_made_without_it() -> None:
    code = """
import sys
from cnnjobs.storage.arrow_start import without_pandas
import pyarrow as pa

without_pandas()
pa.array([1, None]), pa.table({"a": ["x"]}), pa.schema([("a", pa.int8())]).empty_table()
print("pandas" in sys.modules)
"""
    assert run(code) == ["False"]


def test_whoever_asks_for_dataframes_gets_them() -> None:
    code = """
from cnnjobs.storage.arrow_start import without_pandas
import pyarrow as pa

without_pandas()
frame = pa.table({"a": [1.0, None]}).to_pandas()
print(type(frame).__name__)
import pandas
print(pa.array(pandas.Series([1.0, float("nan")]), from_pandas=True).null_count)
print(pa.array(frame["a"]).null_count, pa.Table.from_pandas(frame).num_rows)
"""
    assert run(code) == ["DataFrame", "1", "1", "2"]


@pytest.mark.parametrize("is_first", [False, True])
def test_a_process_that_has_imported_pandas_keeps_it(is_first: bool) -> None:
    before, after = ("import pandas", "") if is_first else ("", "import pandas")
    code = f"""
{before}
from cnnjobs.storage.arrow_start import without_pandas
import pyarrow as pa

without_pandas()
{after}
print(pandas.__name__, pandas.Series([1]).sum())
"""
    assert run(code) == ["pandas", "1"]


def test_the_code_of_a_users_model_finds_pandas_as_always() -> None:
    code = '''
from cnnjobs.models.user_model import UserModel
from cnnjobs.storage.arrow_start import without_pandas

without_pandas()
source = """
import pandas, pyarrow

def build(num_labels):
    return pyarrow.array(pandas.Series([1, None], dtype="Int64")).null_count
"""
print(UserModel(source=source, function="build", file_name="model.py")._run(2))
'''
    assert run(code) == ["1"]
