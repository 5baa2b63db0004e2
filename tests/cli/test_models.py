"""What `models` prints."""

import json

from cnnjobs import models
from tests.support.cli import run_here


def test_models_are_two_tables_of_sizes_and_layers_in_80_columns(capsys):
    code, out, err = run_here(capsys, "models")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    sizes, layers = out.split("\n\n")
    header, *rows = sizes.splitlines()
    assert header.split() == ["model", "input", "parameters", "classes"]
    assert len(rows) == len(models.ARCHITECTURES)
    assert [row.split() for row in rows[:6]] == [
        ["covid", "256x256x1", "14,838,529", "2"],
        ["covid-gap", "256x256x1", "109,313", "2"],
        ["digits", "28x28x1", "225,034", "10"],
        ["mobilenetv3small", "224x224x1", "939,697", "2"],
        ["efficientnetv2b0", "224x224x1", "5,920,593", "2"],
        ["densenet121", "224x224x1", "7,038,529", "2"],
    ]
    header, *rows = layers.splitlines()
    assert header.split() == ["model", "layers"]
    assert [row.split(maxsplit=1) for row in rows] == [
        [known.name, known.summary] for known in models.ARCHITECTURES.values()
    ]


def test_models_as_json_are_complete_and_keyed_by_name(capsys):
    code, out, err = run_here(capsys, "models", "--json")
    assert (code, err) == (0, "")
    listed = json.loads(out)
    assert list(listed) == list(models.ARCHITECTURES)
    assert listed["covid"] == {
        "name": "covid",
        "summary": models.ARCHITECTURES["covid"].summary,
        "height": 256,
        "width": 256,
        "num_labels": 2,
        "num_parameters": 14_838_529,
        "takes_weights": False,
        "min_side": None,
        "square": False,
    }
