"""A config back to its command line, for the configs of all commands."""

import dataclasses
import json
import shlex
import typing

import pytest
from hypothesis import given, settings

from cnnjobs.cli.command import CONFIGS
from cnnjobs.cli.command_line import command_line, words
from cnnjobs.config import Config, PredictConfig, TrainConfig, as_dict
from tests.support.command_lines import COMMANDS, parse
from tests.support.configs import configs


def test_every_config_belongs_to_a_command():
    assert set(CONFIGS.values()) == set(typing.get_args(Config))
    assert set(CONFIGS) <= set(COMMANDS)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_words_of_a_config_parse_to_the_same_config(name):
    @settings(derandomize=True, database=None, deadline=None, max_examples=60)
    @given(configs(name))
    def check(config):
        assert parse([*name.split(), *words(name, as_dict(config))]) == config
        # as run.json keeps it
        stored = json.loads(json.dumps(as_dict(config)))
        assert words(name, stored) == words(name, as_dict(config))

    check()


@pytest.mark.parametrize("name", ["train", "predict", "index", "cluster start"])
def test_the_line_of_a_config_parses_to_the_same_config_started_afresh(name):
    @settings(derandomize=True, database=None, deadline=None, max_examples=30)
    @given(configs(name))
    def check(config):
        program, *rest = shlex.split(command_line(name, as_dict(config)))
        assert program == "cnnjobs"
        flags = {field.name for field in dataclasses.fields(config)}
        afresh = dict.fromkeys(flags & {"resume", "update", "overwrite"}, False)
        assert parse(rest) == dataclasses.replace(config, **afresh)

    check()


def test_a_path_that_begins_with_a_dash_is_told_from_an_option():
    config = TrainConfig(data="-x.parquet", output="-o", epochs=3)
    line = "cnnjobs train --output=-o --epochs 3 -- -x.parquet"
    assert command_line("train", as_dict(config)) == line


def test_what_a_recipe_would_change_is_written_out():
    config = TrainConfig(data="m", output="r", recipe="robust", crop=0.1)
    assert command_line("train", as_dict(config)) == (
        "cnnjobs train m --output r --recipe robust --crop 0.1 --mask-corners 0.0 --no-equalize"
    )


def test_defaults_and_how_a_run_was_started_are_left_out():
    config = PredictConfig(bundle="a", data="b", output="c", overwrite=True, engine="auto")
    assert command_line("predict", as_dict(config)) == "cnnjobs predict a b --output c"


def test_flags_that_no_config_holds_are_written_too():
    config = as_dict(PredictConfig(bundle="a", data="b", output="c"))
    flags = {"as_json": True, "dry_run": True, "quiet": False}
    assert words("predict", {**config, **flags}) == [
        "a",
        "b",
        "--output",
        "c",
        "--dry-run",
        "--json",
    ]


def test_settings_that_a_command_no_longer_has_are_left_out():
    assert command_line("models", {"gone": 3}) == "cnnjobs models"
