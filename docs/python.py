"""Write the parts of docs/python.md that come from the code: signatures, fields and docstrings.

`python docs/python.py` writes them; with `--check` it writes nothing and exits 1 if the page is not
what would be written.
"""

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cnnjobs
from cnnjobs import api, errors

PAGE = Path(__file__).with_name("python.md")

_PART = re.compile(r"<!-- (\w+) -->\n.*?<!-- end -->", re.DOTALL)

_CLASSES = ("Manifest", "Bundle")


def main() -> int:
    """Write the page, or with `--check` say whether it is up to date."""
    parser = argparse.ArgumentParser(description="Write docs/python.md from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it differs")
    old = PAGE.read_text(encoding="utf-8")
    new = _PART.sub(lambda part: f"<!-- {part[1]} -->\n{_MAKERS[part[1]]()}\n<!-- end -->", old)
    if not parser.parse_args().check:
        PAGE.write_text(new, encoding="utf-8")
        return 0
    if old == new:
        return 0
    print("docs/python.md is not what the docstrings say; run: make docs")
    return 1


def _errors() -> str:
    """The tree in the docstring of `cnnjobs.errors`."""
    tree = re.search(r"(?m)^    CnnjobsError(?:.*\n)+?(?=\n)", str(errors.__doc__))
    assert tree is not None
    return f"```text\n{inspect.cleandoc(tree[0])}\n```"


def _jobs() -> str:
    """Each job in the order of the module: its docstring, its summary and its settings."""
    names = [name for name in vars(api) if inspect.isfunction(getattr(cnnjobs, name, None))]
    return "\n\n".join(map(_job, names))


def _job(name: str) -> str:
    function = getattr(cnnjobs, name)
    command = name.replace("_", "-")
    returns = " or ".join(f"`{each}`" for each in _annotation(function).split(" | "))
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is inspect.Parameter.empty
    ]
    given = ", ".join(f"{each}=..." for each in required)
    return (
        f"#### `{name}({given})`\n\n{_text(function)}\n\nReturns {returns}. "
        f"Settings: [cnnjobs {command}](reference.md#cnnjobs-{command})."
    )


def _annotation(function: Any) -> str:
    return str(inspect.signature(function).return_annotation)


def _classes() -> str:
    """Signatures and docstrings of the public methods, and of `read_predictions`."""
    parts = []
    for name in _CLASSES:
        kind = getattr(cnnjobs, name)
        parts.append(f"#### `{name}`\n\n{_text(kind)}")
        parts += [
            f"##### `{name}.{method}{_signature(value)}`\n\n{_text(value)}"
            for method, value in _methods(kind)
        ]
    function = cnnjobs.read_predictions
    parts.append(f"#### `read_predictions{_signature(function)}`\n\n{_text(function)}")
    return "\n\n".join(parts)


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(kind).items():
        function = value.__func__ if isinstance(value, classmethod) else value
        if inspect.isfunction(function) and not name.startswith("_"):
            yield name, function


def _signature(function: Any) -> str:
    """The parameters without their types, which the text explains."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name not in ("self", "cls")
    ]
    bare = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return str(bare)


def _summaries() -> str:
    """Each summary's docstring and fields."""
    names = [name for name in cnnjobs.__all__ if name.endswith(("Summary", "Prediction"))]
    return "\n\n".join(_summary(name) for name in names)


def _summary(name: str) -> str:
    kind = getattr(cnnjobs, name)
    fields = [f"| `{field.name}` | `{_type(field.type)}` |" for field in dataclasses.fields(kind)]
    table = "\n".join(["| field | type |", "| --- | --- |", *fields])
    return f"#### `{name}`\n\n{_text(kind)}\n\n{table}"


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"[\w.]+\.(?=\w)", "", text).replace("|", "\\|")


def _text(described: Any) -> str:
    """A docstring as Markdown: its sections become lists."""
    blocks = re.split(r"\n\n(?=\w+:\n)", str(inspect.getdoc(described)))
    text, *sections = blocks
    return "\n\n".join([text, *map(_section, sections)])


def _section(section: str) -> str:
    title, _, body = section.partition(":\n")
    body = inspect.cleandoc("\n" + body)
    if title == "Returns":
        return f"Returns: {body}"
    items = re.sub(r"(?m)^(\w+): ", r"- `\1`: ", body)
    return f"{title}:\n\n" + re.sub(r"(?m)^ {4}", "  ", items)


_MAKERS = {"errors": _errors, "jobs": _jobs, "classes": _classes, "summaries": _summaries}

if __name__ == "__main__":
    sys.exit(main())
