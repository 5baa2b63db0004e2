"""`--dry-run`: the settings and the plan, and nothing written."""

import json

from cnnjobs.config import IndexConfig, TrainConfig, as_dict
from cnnjobs.config.recipes import RECIPES
from tests.support.cli import plan_of, run_here


def test_a_dry_run_of_index_shows_settings_and_plan_and_writes_nothing(capsys, tmp_path, archive):
    output = tmp_path / "new" / "manifest.parquet"
    code, out, err = run_here(
        capsys, "index", str(archive), "-o", str(output), "--seed", "7", "--dry-run"
    )
    assert (code, err) == (0, "")
    shown = plan_of(out)
    assert shown["settings"] == _shown(
        IndexConfig(sources=(str(archive),), output=str(output), seed=7)
    )
    assert shown["plan"] == {
        "images": 10,
        "labels": {"normal": 5, "opacity": 5},
        "ignored files": {".txt": 1},
        "warnings": [],
        "update": None,
        "output": str(output),
    }
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_train_shows_settings_and_plan_and_writes_nothing(capsys, tmp_path, archive):
    output = tmp_path / "new" / "run"
    settings = tmp_path / "settings.yaml"
    settings.write_text("epochs: 3\nbatch_size: 2\n")
    code, out, err = run_here(
        capsys,
        *["train", str(archive), "-o", str(output), "--config", str(settings)],
        *["--epochs", "5", "--dry-run"],
    )
    assert (code, err) == (0, "")
    shown = plan_of(out)
    # the command line overrides the file, the file the default
    assert shown["settings"] == _shown(
        TrainConfig(data=str(archive), output=str(output), epochs=5, batch_size=2)
    )
    images = shown["plan"].pop("images")
    assert sum(images.values()) < 10
    assert shown["plan"] == {
        "model": "covid",
        "parameters": 14_838_529,
        "labels": ["normal", "opacity"],
        "positive": "opacity",
        "steps per epoch": -(-images["train"] // 2),
        "output": str(output),
        "warnings": [],
    }
    assert list(tmp_path.iterdir()) == [settings]


def test_a_dry_run_shows_the_settings_of_a_recipe_and_warns_of_one_without_effect(
    capsys, tmp_path, archive
):
    flags = ["--recipe", "robust", "--crop", "0", "--balance", "source", "--dry-run"]
    code, out, err = run_here(capsys, "train", str(archive), "-o", f"{tmp_path}/run", *flags)
    assert (code, err) == (0, "")
    shown = plan_of(out)
    assert shown["settings"] == _shown(
        TrainConfig(
            data=str(archive),
            output=f"{tmp_path}/run",
            recipe="robust",
            **{**RECIPES["robust"], "crop": 0.0, "balance": "source"},
        )
    )
    assert shown["plan"]["warnings"] == [
        f"balance source changes nothing: all images are from source {archive.name}."
    ]


def test_a_dry_run_as_json_is_one_document(capsys, tmp_path, archive):
    code, out, err = run_here(
        capsys, "index", str(archive), "-o", f"{tmp_path}/m.parquet", "--dry-run", "--json"
    )
    assert (code, err) == (0, "")
    shown = json.loads(out)
    assert list(shown) == ["config", "plan"]
    assert shown["config"]["seed"] == 0
    assert shown["plan"]["images"] == 10
    assert list(tmp_path.iterdir()) == []


def _shown(config):
    """The settings as YAML shows them: without tuples."""
    return json.loads(json.dumps(as_dict(config)))
