"""Arrow without pandas, which pyarrow imports for the first array of a process, whatever it holds.

That takes 0.4 s, and other threads need the processor by then (apache/arrow#34994).
"""

import contextlib
import sys
from importlib.abc import MetaPathFinder
from typing import Any


class _NoPandas(MetaPathFinder):
    """Makes the import of pandas fail, as if it were not installed."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def without_pandas() -> None:
    """Have pyarrow make its first array without pandas. For a process that makes none of a Series.

    `to_pandas` and `from_pandas` still import it, and from then on all is as it would have been.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)


def with_pandas() -> None:
    """Undo `without_pandas`, for code that is not ours."""
    import pyarrow as pa

    with contextlib.suppress(ImportError):
        pa.table({}).to_pandas()
