"""What `import cnnjobs` offers: names, signatures and how a job is called."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import cnnjobs
from cnnjobs import api, progress
from cnnjobs.config import names

CONFIGS = {
    "audit": cnnjobs.AuditConfig,
    "compare": cnnjobs.CompareConfig,
    "crossval": cnnjobs.CrossvalConfig,
    "evaluate": cnnjobs.EvaluateConfig,
    "explain": cnnjobs.ExplainConfig,
    "index": cnnjobs.IndexConfig,
    "inspect": cnnjobs.InspectConfig,
    "predict": cnnjobs.PredictConfig,
    "predict_one": cnnjobs.PredictOneConfig,
    "report": cnnjobs.ReportConfig,
    "train": cnnjobs.TrainConfig,
    "tune": cnnjobs.TuneConfig,
}


@api.job(api._Train, cnnjobs.TrainConfig)
def settings(config: cnnjobs.TrainConfig, progress: progress.Progress) -> cnnjobs.TrainConfig:
    """A job that does nothing."""
    progress("settle", 1, 1)
    return config


def test_importing_the_package_and_naming_a_job_imports_nothing_heavy() -> None:
    code = """
import sys, cnnjobs
dir(cnnjobs), cnnjobs.train, cnnjobs.predict, cnnjobs.TrainConfig, cnnjobs.InputError
heavy = ("ray", "keras", "tensorflow", "pyarrow", "cv2", "numpy", "pandas", "rich", "typer")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_the_object_that_type_checkers_see() -> None:
    tree = ast.parse(Path(cnnjobs.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    seen = {
        name.name: node.module
        for node in imports
        for name in node.names
        if str(node.module).startswith("cnnjobs.")
    }
    assert sorted([*seen, "__version__"]) == sorted(cnnjobs.__all__) == dir(cnnjobs)
    for name, module in seen.items():
        assert getattr(cnnjobs, name) is getattr(importlib.import_module(str(module)), name)


def test_no_module_hides_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(cnnjobs.__path__)}
    assert modules & set(cnnjobs.__all__) == set()
    importlib.import_module("cnnjobs.reporting.report")
    importlib.import_module("cnnjobs.data.inspect")
    assert all(inspect.isfunction(getattr(cnnjobs, name)) for name in CONFIGS)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'cnnjobs' has no attribute 'learn'$"):
        cnnjobs.learn  # type: ignore[attr-defined]  # noqa: B018


def test_every_public_name_has_a_docstring() -> None:
    silent = [name for name in cnnjobs.__all__ if not inspect.getdoc(getattr(cnnjobs, name))]
    assert silent == []


@pytest.mark.parametrize(("name", "config"), CONFIGS.items())
def test_a_job_takes_the_settings_of_its_config_and_progress(name: str, config: type) -> None:
    parameters = inspect.signature(getattr(cnnjobs, name)).parameters
    assert list(parameters) == [*names(config), "progress"]
    for field in dataclasses.fields(config):
        assert parameters[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[field.name].annotation == field.type
        missing = field.default is dataclasses.MISSING
        default = inspect.Parameter.empty if missing else field.default
        assert parameters[field.name].default is default


def test_help_shows_the_settings_with_their_defaults() -> None:
    text = pydoc.plain(pydoc.render_doc(cnnjobs.train))
    assert "train(*, data: str, output: str, recipe: str = 'plain'" in text
    assert "epochs: int = 10" in text
    assert "Train a model on the train split" in text


def test_keyword_arguments_and_a_config_are_the_same() -> None:
    config = cnnjobs.TrainConfig(data="m.parquet", output="run", epochs=3)
    assert settings(data="m.parquet", output="run", epochs=3) == settings(config) == config


def test_a_recipe_fills_in_the_settings_that_are_not_given() -> None:
    found = settings(data="m.parquet", output="run", recipe="robust", crop=0.2)
    assert (found.crop, found.mask_corners, found.equalize) == (0.2, 0.2, True)


def test_a_path_or_a_list_is_taken_where_a_config_has_text_or_a_tuple(tmp_path: Path) -> None:
    @api.job(api._Index, cnnjobs.IndexConfig)
    def sources(
        config: cnnjobs.IndexConfig, progress: progress.Progress
    ) -> tuple[tuple[str, ...], str]:
        return config.sources, config.output

    one = sources(sources=tmp_path, output=tmp_path / "m.parquet")  # type: ignore[call-overload]
    assert one == ((str(tmp_path),), str(tmp_path / "m.parquet"))
    several = sources(sources=["a", tmp_path], output="m.parquet")  # type: ignore[call-overload]
    assert several == (("a", str(tmp_path)), "m.parquet")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"data": "m.parquet"}, "missing a required argument: 'output'"),
        ({"data": "m", "output": "o", "epoch": 3}, "got an unexpected keyword argument 'epoch'"),
    ],
)
def test_a_missing_or_unknown_keyword_is_a_type_error(
    keywords: dict[str, object], message: str
) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        settings(**keywords)  # type: ignore[call-overload]


def test_a_config_of_another_job_or_with_keywords_is_a_type_error() -> None:
    config = cnnjobs.TrainConfig(data="m.parquet", output="run")
    other = cnnjobs.InspectConfig(data="m.parquet")
    message = "^expected keyword arguments, or one TrainConfig in their place$"
    for given, keywords in (((other,), {}), ((config, config), {}), ((config,), {"epochs": 3})):
        with pytest.raises(TypeError, match=message):
            settings(*given, **keywords)  # type: ignore[call-overload]


def test_a_setting_out_of_range_is_a_config_error() -> None:
    with pytest.raises(cnnjobs.ConfigError, match=r"^epochs must be at least 1, got 0\.$"):
        cnnjobs.train(data="m.parquet", output="run", epochs=0)


def test_progress_is_shown_nowhere_or_goes_to_a_function(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports: list[tuple[object, ...]] = []
    config = cnnjobs.TrainConfig(data="m.parquet", output="run")

    # standard error is not a terminal here
    settings(config)
    settings(config, progress=False)
    assert capsys.readouterr() == ("", "")

    settings(config, progress=lambda *report: reports.append(report))
    settings(data="m", output="run", progress=lambda *report: reports.append(report))
    assert reports == [("settle", 1, 1, "")] * 2
