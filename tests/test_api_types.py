"""What type checkers find: users' scripts pass, mistakes in them do not, and nothing is Any."""

import dataclasses
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

import cnnjobs
from tests.support.paths import ROOT

SUMMARIES = [name for name in cnnjobs.__all__ if name.endswith(("Summary", "Prediction"))]

#: Each line with what mypy says of it.
MISTAKES = {
    "cnnjobs.learn": "Module has no attribute",
    "cnnjobs.train(data='m.parquet')": "No overload variant",
    "cnnjobs.train(data='m.parquet', output='run', epochs='3')": "No overload variant",
    "cnnjobs.train(data='m', output='run', epoch=3)": "Unexpected keyword argument",
    "cnnjobs.train(cnnjobs.InspectConfig(data='m'))": "No overload variant",
    "cnnjobs.train(data='m', output='run').epoch": '"TrainSummary" has no attribute "epoch"',
    "cnnjobs.inspect(data='m').levels": 'Item "DataSummary" of "ImageSummary | DataSummary"',
    "cnnjobs.predict_one(bundle='b', images=('i',)).images[0].scores": "has no attribute",
    "cnnjobs.Bundle.open('b').predict(3)": "incompatible type",
}


def test_a_typed_script_passes_mypy_strict_and_its_mistakes_do_not(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("\n".join(["import cnnjobs", *MISTAKES, ""]))
    script = ROOT / "examples" / "score_archive.py"
    found = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"),
            *("--hide-error-context", "--cache-dir", str(tmp_path / "cache")),
            *(str(script), str(wrong)),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    errors = [line for line in found.stdout.splitlines() if ": error: " in line]
    assert found.stderr == ""
    assert {line.split(":")[0] for line in errors} == {"wrong.py"}, errors
    for number, (mistake, message) in enumerate(MISTAKES.items(), start=2):
        of_line = [line for line in errors if line.startswith(f"wrong.py:{number}: ")]
        assert any(message in line for line in of_line), (mistake, errors)


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_summary_is_frozen_and_has_no_any_in_it(name: str) -> None:
    kind = getattr(cnnjobs, name)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    loose = [where for where, found in leaves(kind, name) if found not in PLAIN]
    assert loose == []


PLAIN = (str, int, float, bool, type(None))


def leaves(kind: typing.Any, where: str) -> Iterator[tuple[str, typing.Any]]:
    """Every type that a value of this type may hold, and where."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            yield from leaves(hints[field.name], f"{where}.{field.name}")
    elif origin in (Mapping, Sequence, tuple, dict, list, typing.Union, types.UnionType):
        for each in typing.get_args(kind):
            if each is not Ellipsis:
                yield from leaves(each, where)
    else:
        yield where, kind


def test_a_type_that_is_not_known_would_be_found() -> None:
    @dataclasses.dataclass(frozen=True)
    class Loose:
        rows: Sequence[Mapping[str, typing.Any]]
        bare: dict  # type: ignore[type-arg]

    found = [where for where, kind in leaves(Loose, "Loose") if kind not in PLAIN]
    assert found == ["Loose.rows", "Loose.bare"]
