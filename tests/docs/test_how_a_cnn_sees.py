"""The tables of docs/how-a-cnn-sees.md hold for the models that Keras builds."""

import re
from math import prod

import pytest

from cnnjobs import models
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "how-a-cnn-sees.md").read_text(encoding="utf-8")


def _tables() -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    return [
        [[cell.strip(" `") for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        for block in blocks
    ]


def _number(text: str) -> int:
    return int(text.replace(",", ""))


@pytest.mark.parametrize(("name", "labels", "place"), [("covid", 2, 0), ("digits", 10, 1)])
def test_shapes_and_parameters_are_the_models(name, labels, place):
    model = models.build(name, labels)
    rows = {row[0]: row for row in _tables()[place][2:]}

    assert _number(rows["all"][2]) == model.count_params()
    for layer in model.layers:
        if layer.name == "scale" and name == "digits":
            continue
        _, output, parameters, *_ = rows[layer.name]
        assert tuple(_number(side) for side in output.split(" x ")) == layer.output.shape[1:]
        assert _number(parameters) == layer.count_params()


def test_the_arithmetic_beside_the_parameters_gives_them():
    # "(3·3·1 + 1) · 32" is read as Python reads it, with its own signs
    sums = [
        (_number(row[2]), row[3])
        for table in _tables()[:2]
        for row in table[2:]
        if row[3].startswith("(")
    ]

    assert len(sums) == 9
    for parameters, arithmetic in sums:
        inner, units = re.fullmatch(r"\((.+) \+ 1\) · (\d+)", arithmetic).groups()
        assert (prod(map(_number, inner.split("·"))) + 1) * int(units) == parameters


def test_multiplications_are_weights_times_positions():
    model = models.build("covid", 2)
    rows = {row[0]: row for row in _tables()[0][2:]}
    of_layer = {name: _number(row[4]) for name, row in rows.items() if row[4]}
    total = of_layer.pop("all")

    assert sum(of_layer.values()) == total
    for name in of_layer.keys() - {"scale"}:
        layer = model.get_layer(name)
        *places, _ = layer.output.shape[1:]
        assert of_layer[name] == prod(places) * prod(layer.kernel.shape)


def test_recurrent_layers_have_the_stated_parameters():
    keras = models.import_keras()
    rows = {row[0]: _number(row[1]) for row in _tables()[2][2:]}

    for layer in (keras.layers.SimpleRNN(128), keras.layers.LSTM(128)):
        layer.build((None, 28, 28))
        assert rows[type(layer).__name__] == layer.count_params()


def test_the_share_of_the_dense_layer_and_of_the_convolutions():
    rows = {row[0]: row for row in _tables()[0][2:]}
    dense = _number(rows["hidden"][2]) / _number(rows["all"][2])
    convolutions = sum(_number(rows[f"conv_{n}"][4]) for n in (1, 2, 3)) / _number(rows["all"][4])

    assert f"{dense:.1%}" in PAGE
    assert f"{convolutions:.0%}" in PAGE
