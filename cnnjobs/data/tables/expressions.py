"""Conditions on the columns of a table, such as `view in ("PA", "AP") and age >= 18`.

They are parsed by Python's own grammar, of which only comparisons of a column with values and
`and`, `or`, `not` are allowed, and computed by pyarrow: nothing is evaluated.
"""

import ast
import difflib
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cnnjobs.errors import InputError

_COMPARISONS: Mapping[type, Callable[..., Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_FORMS = 'column == 1, column != "text", <, <=, >, >=, in ("a", "b"), is None, and, or, not'

#: Texts in quotes, which are no names.
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`""")


class Expression:
    """A condition, parsed for tables with the given columns.

    Attributes:
        text: as the user wrote it.
        columns: those that it names.

    Raises:
        InputError: it is not of the allowed forms, or names a column that the table lacks.
    """

    def __init__(self, option: str, text: str, known: Collection[str]) -> None:
        self.option, self.text = option, text
        self._names: dict[str, str] = {}
        try:
            self._tree = ast.parse(self._with_placeholders(text, known), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._refused() from error
        self.columns: list[str] = []
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Name):
                name = self._names.get(node.id, node.id)
                if name not in known:
                    raise missing(name, known, f"{option} {text!r}")
                self.columns.append(name)
        if not self.columns:
            raise self._refused()

    @property
    def numbers(self) -> set[float]:
        """The numbers that it compares with."""
        found = set()
        for node in ast.walk(self._tree):
            value = self._value(node) if isinstance(node, ast.Constant | ast.UnaryOp) else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.add(float(value))
        return found

    def mask(self, columns: Mapping[str, Any]) -> Any:
        """Whether it holds, for each row; null where a value that it needs is missing."""
        try:
            return self._mask(self._tree, columns)
        except RecursionError as error:
            raise self._refused() from error

    def _with_placeholders(self, text: str, known: Collection[str]) -> str:
        """Column names, which may have spaces, as names of Python's."""

        def placeholder(name: str) -> str:
            key = f"_column_{len(self._names)}"
            self._names[key] = name
            return f" {key} "

        longest = sorted(known, key=len, reverse=True)
        names = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest)
        parts, end = [], 0

        def outside(piece: str) -> str:
            return re.sub(names, lambda match: placeholder(match[0]), piece) if names else piece

        for match in _QUOTED.finditer(text):
            parts.append(outside(text[end : match.start()]))
            quoted = match[0]
            parts.append(placeholder(quoted[1:-1]) if quoted[0] == "`" else quoted)
            end = match.end()
        parts.append(outside(text[end:]))
        return "".join(parts).strip()

    def _mask(self, node: ast.AST, columns: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.BoolOp):
            combine = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
            masks = [self._mask(value, columns) for value in node.values]
            result = masks[0]
            for mask in masks[1:]:
                result = combine(result, mask)
            return result
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return pc.invert(self._mask(node.operand, columns))
        if isinstance(node, ast.Compare):
            return self._compared(node, columns)
        if isinstance(node, ast.Name):
            column = columns[self._names.get(node.id, node.id)]
            if pa.types.is_boolean(column.type):
                return column
        raise self._refused()

    def _compared(self, node: ast.Compare, columns: Mapping[str, Any]) -> Any:
        result, left = None, node.left
        for sign, right in zip(node.ops, node.comparators, strict=True):
            mask = self._pair(left, sign, right, columns)
            result = mask if result is None else pc.and_kleene(result, mask)
            left = right
        return result

    def _pair(
        self, left: ast.expr, sign: ast.cmpop, right: ast.expr, columns: Mapping[str, Any]
    ) -> Any:
        if isinstance(right, ast.Name) and not isinstance(left, ast.Name):
            turned = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
            if type(sign) in (ast.Eq, ast.NotEq, *turned):
                left, right, sign = right, left, turned.get(type(sign), type(sign))()
        if not isinstance(left, ast.Name):
            raise self._refused()
        name = self._names.get(left.id, left.id)
        column = columns[name]
        if pa.types.is_integer(column.type):
            column = column.cast(pa.float64())
        if isinstance(sign, ast.In | ast.NotIn):
            # ("PA") is no tuple, though it looks like one
            items = right.elts if hasattr(right, "elts") else [right]
            values = [self._of_kind(self._value(item), name, column) for item in items]
            found = pc.is_in(column, value_set=pa.array(values, column.type))
            mask = pc.if_else(pc.is_valid(column), found, None)
            return pc.invert(mask) if isinstance(sign, ast.NotIn) else mask
        if isinstance(sign, ast.Is | ast.IsNot) and self._value(right) is None:
            return pc.is_null(column) if isinstance(sign, ast.Is) else pc.is_valid(column)
        if type(sign) not in _COMPARISONS or isinstance(right, ast.Name):
            raise self._refused()
        value = self._of_kind(self._value(right), name, column)
        return _COMPARISONS[type(sign)](column, pa.scalar(value, column.type))

    def _of_kind(self, value: Any, name: str, column: Any) -> Any:
        """The value, if it can be compared with the column."""
        kind = column.type
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if pa.types.is_boolean(kind):
            if isinstance(value, bool) or value in (0, 1):
                return bool(value)
        elif pa.types.is_floating(kind):
            if is_number:
                return float(value)
        elif isinstance(value, str):
            return value
        held = "text" if pa.types.is_string(kind) else "numbers"
        if pa.types.is_null(kind):
            return None
        first = next(
            (str(each) for each in column.slice(0, 1000).to_pylist() if each is not None), ""
        )
        raise InputError(
            f"{self.option} {self.text!r} compares {name} with {value!r}, but that column holds "
            f"{held}, such as {first!r}."
        )

    def _value(self, node: ast.AST) -> Any:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self._value(node.operand)
            if isinstance(value, int | float):
                return operator.neg(value) if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.Constant) and isinstance(
            node.value, str | int | float | bool | None
        ):
            return node.value
        raise self._refused()

    def _refused(self) -> InputError:
        return InputError(f"{self.option} {self.text!r} is not a condition; use {_FORMS}.")


def missing(name: str, known: Collection[str], where: str) -> InputError:
    """The error for a column that a table lacks, with near names or all of them."""
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lower, n=2, cutoff=0.6)
    hint = (
        f"did you mean {' or '.join(lower[each] for each in near)}?"
        if near
        else f"it has {', '.join(known)}."
    )
    return InputError(f"{where}: the table has no column {name!r}; {hint}")
