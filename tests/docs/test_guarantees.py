"""docs/guarantees.md guarantees nothing without a test."""

import ast
import re

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
PROMISES = PAGE.partition("## Not guaranteed")[0]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PROMISES)


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_promise_names_a_test_that_is_there(file, name):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test():
    promises = re.split(r"^- ", PROMISES, flags=re.MULTILINE)[1:]
    assert len(promises) >= 15
    assert [each for each in promises if not re.search(r"`tests/[\w/]+\.py::test_\w+`", each)] == []
