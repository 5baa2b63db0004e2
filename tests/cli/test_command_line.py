import shlex

import pytest
import typer

from cnnjobs.cli import app
from cnnjobs.cli.command_line import command_line
from cnnjobs.cli.runner import settings
from cnnjobs.config import EvaluateConfig, IndexConfig, PredictConfig, TrainConfig, as_dict

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("index", IndexConfig(sources=("a b", "c"), output="m.parquet", labels=False, test=0.2)),
        ("train", TrainConfig(data="it's.parquet", output="run", calibrate=True, seed=3)),
        ("train", TrainConfig(data="m", output="run", threshold_rule="sensitivity=0.95")),
        ("evaluate", EvaluateConfig(bundle="run", data="m", prevalence=0.01, resamples=0)),
        ("predict", PredictConfig(bundle="a", bundles=("b", "c"), data="d", output="o", csv=True)),
        ("predict", PredictConfig(bundle="a", data="s3://b/c", output="o", s3_region="eu")),
    ],
)
def test_a_line_gives_the_settings_it_was_made_of(name, config):
    program, given, *words = shlex.split(command_line(name, as_dict(config)))
    assert (program, given) == ("cnnjobs", name)
    context = COMMANDS[name].make_context(name, words)
    assert settings(context, type(config), None) == config


def test_what_is_a_default_or_says_how_it_was_started_is_left_out():
    config = PredictConfig(bundle="a", data="b", output="c", overwrite=True, engine="auto")
    assert command_line("predict", as_dict(config)) == "cnnjobs predict a b --output c"


def test_settings_that_a_command_no_longer_has_are_left_out():
    assert command_line("models", {"gone": 3}) == "cnnjobs models"
