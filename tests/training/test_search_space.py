"""The space of settings: what is drawn from it, and what is refused."""

from pathlib import Path

import pytest

from cnnjobs.config import TuneConfig
from cnnjobs.errors import ConfigError
from cnnjobs.training import search_space

ALL_KINDS = """\
learning_rate: {loguniform: [1e-5, 1e-2]}
clip_norm: {uniform: [0.5, 2]}
batch_size: {randint: [4, 6]}
class_weight: {choice: [null, balanced]}
"""


def _config(folder: Path, text: str, **settings: object) -> TuneConfig:
    file = folder / "space.yaml"
    file.write_text(text)
    return TuneConfig(data="data", output="run", space=str(file), **settings)


def test_every_kind_draws_values_in_its_range_and_of_the_setting_s_type(tmp_path: Path) -> None:
    drawn = search_space.draw(search_space.read(_config(tmp_path, ALL_KINDS)), seed=0, trials=200)

    rates = [settings["learning_rate"] for settings in drawn]
    norms = [settings["clip_norm"] for settings in drawn]
    assert 1e-5 <= min(rates) <= max(rates) <= 1e-2
    # uniform on a logarithmic scale: a third in each power of ten
    assert 40 < sum(rate < 1e-4 for rate in rates) < 95
    assert 0.5 <= min(norms) < 0.7 < 1.8 < max(norms) <= 2
    assert {settings["batch_size"] for settings in drawn} == {4, 5, 6}
    assert {settings["class_weight"] for settings in drawn} == {None, "balanced"}
    assert all(type(settings["batch_size"]) is int for settings in drawn)


def test_the_same_seed_draws_the_same_settings_and_more_trials_only_add_to_them(
    tmp_path: Path,
) -> None:
    ranges = search_space.read(_config(tmp_path, ALL_KINDS))
    five = search_space.draw(ranges, seed=3, trials=5)

    assert search_space.draw(ranges, seed=3, trials=5) == five
    assert search_space.draw(ranges, seed=3, trials=9)[:5] == five
    assert search_space.draw(ranges, seed=4, trials=5) != five


def test_every_trial_draws_different_settings(tmp_path: Path) -> None:
    drawn = search_space.draw(search_space.read(_config(tmp_path, ALL_KINDS)), seed=0, trials=9)

    assert len({settings["learning_rate"] for settings in drawn}) == 9


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty; write lines such as `learning_rate: {loguniform: [1e-5, 1e-2]}`."),
        ("- a\n", "must contain `setting: value` lines, got list."),
        ("learning_rat: {choice: [1]}", "unknown key 'learning_rat'; did you mean learning_rate?"),
        (
            "learning_rate: 0.1",
            "learning_rate must be one of {choice: [..]}, {uniform: [low, high]}, "
            "{loguniform: [low, high]} or {randint: [low, high]}, got 0.1.",
        ),
        (
            "learning_rate: {normal: [0, 1]}",
            "learning_rate must be one of choice, uniform, loguniform, randint, got 'normal'.",
        ),
        (
            "learning_rate: {choice: []}",
            "learning_rate needs a list of values after choice, got [].",
        ),
        ("batch_size: {choice: [8, many]}", "batch_size must be a whole number, got 'many'."),
        (
            "learning_rate: {uniform: [0.2, 0.1]}",
            "learning_rate needs two numbers after uniform, the lower first, got [0.2, 0.1].",
        ),
        (
            "learning_rate: {uniform: [0.2]}",
            "learning_rate needs two numbers after uniform, the lower first, got [0.2].",
        ),
        (
            "schedule: {uniform: [constant, cosine]}",
            "schedule needs two numbers after uniform, the lower first, got "
            "['constant', 'cosine'].",
        ),
        (
            "learning_rate: {loguniform: [0, 0.1]}",
            "learning_rate needs numbers above 0 after loguniform, got [0, 0.1].",
        ),
        (
            "learning_rate: {randint: [1, 2]}",
            "learning_rate is not a whole number; draw it with uniform or loguniform.",
        ),
        (
            "batch_size: {uniform: [1, 8]}",
            "batch_size is a whole number; draw it with randint or choice.",
        ),
        ("learning_rate: {uniform: [-1, 1]}", "learning_rate must be above 0, got -1.0."),
        ("batch_size: {randint: [0, 8]}", "batch_size must be at least 1, got 0."),
        (
            "schedule: {choice: [constant, step]}",
            "schedule must be one of constant, cosine, plateau, got step.",
        ),
    ],
)
def test_a_space_that_cannot_be_drawn_from_is_refused_with_file_and_key(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        search_space.read(_config(tmp_path, text))

    joint = " " if complaint.startswith(("is empty", "must contain")) else ": "
    assert str(refused.value) == f"{tmp_path / 'space.yaml'}{joint}{complaint}"


@pytest.mark.parametrize("name", ["epochs", "monitor", "output", "workers", "keep", "crop"])
def test_settings_that_all_trials_must_share_cannot_be_searched(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"space\.yaml: {name} cannot be searched; known: "):
        search_space.read(_config(tmp_path, f"{name}: {{choice: [1, 2]}}"))


def test_a_missing_space_file_is_named() -> None:
    with pytest.raises(ConfigError) as refused:
        search_space.read(TuneConfig(data="data", output="run", space="none.yaml"))

    assert str(refused.value) == "none.yaml cannot be read: No such file or directory."


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"trials": 0}, "trials must be at least 1, got 0."),
        ({"parallel": 0}, "parallel must be at least 1, got 0."),
        ({"grace": 0}, "grace must be at least 1, got 0."),
        (
            {"grace": 3, "epochs": 2},
            "grace must be at most epochs (2), got 3; every trial trains so many epochs before it "
            "may be stopped.",
        ),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0."),
        (
            {"monitor": "auc"},
            "monitor must be one of val_loss, val_accuracy, val_auroc, got auc.",
        ),
    ],
)
def test_settings_of_the_search_are_checked(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        TuneConfig(data="data", output="run", space="space.yaml", **settings)

    assert str(refused.value) == complaint


def test_settings_of_a_trial_override_those_that_all_share() -> None:
    config = TuneConfig(data="d", output="o", space="s", batch_size=8, epochs=3, model="digits")

    trial = config.of_a_trial(batch_size=16)

    assert (trial.batch_size, trial.epochs, trial.model, trial.keep) == (16, 3, "digits", "best")


def test_a_setting_may_be_searched_that_is_valid_only_with_another_one_in_the_space(
    tmp_path: Path,
) -> None:
    decay = "weight_decay: {loguniform: [1e-5, 1e-2]}\n"
    with pytest.raises(ConfigError, match="weight_decay is for optimizer adamw or sgd"):
        search_space.read(_config(tmp_path, decay))

    space = search_space.read(_config(tmp_path, decay + "optimizer: {choice: [adamw, sgd]}"))

    assert set(space) == {"weight_decay", "optimizer"}
