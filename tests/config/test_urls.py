"""No setting takes a URL with a secret, and no message shows it."""

import dataclasses
import typing
from pathlib import Path
from typing import Any

import pytest

from cnnjobs.cli import main
from cnnjobs.cluster import head_client, session
from cnnjobs.config import Config, TrainConfig, files, urls
from cnnjobs.errors import ConfigError

SECRET = "hunter2"
WITH_SECRET = (
    f"http://user:{SECRET}@host:5000/x",
    f"https://{SECRET}@host/x",
    f"HTTPS://user:{SECRET}@host",
    f"http://user:pass/{SECRET}@host",
    f"http://user: {SECRET}@host",
    f"s3://KEY:{SECRET}/more@bucket/prefix",
    f"ray://user:{SECRET}@host:10001",
    f"postgresql+psycopg2://user:{SECRET}@host/db",
    f"postgresql://host/db?user=a&password={SECRET}",
    f"http://host/x?a=b&access_token={SECRET}",
    f"https://host/blob?sv=1&sig={SECRET}",
    f"https://bucket.s3.amazonaws.com/x?X-Amz-Signature={SECRET}",
    f"--mlflow=http://user:{SECRET}@host",
    f"file one, http://host http://user:{SECRET}@host",
)
WITHOUT = (
    "http://host:5000/path@2x/image?size=3",
    "sqlite:////home/me@work/runs.db",
    "postgresql://me@host/db",
    "s3://bucket/a@b/c?d.png",
    "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/mine/user@host",
    "/data/a:b@c/image.png",
    "file:///tmp/runs",
)


def _settings() -> list[tuple[type[Config], str]]:
    return [
        (kind, field.name)
        for kind in typing.get_args(Config)
        for field in dataclasses.fields(kind)
        if str(field.type).startswith(("str", "tuple", "<class 'str'>"))
    ]


def test_no_setting_of_any_command_takes_a_url_with_a_secret() -> None:
    checked = 0
    for kind, name in _settings():
        required = {
            field.name: ("x",) if "tuple" in str(field.type) else "x"
            for field in dataclasses.fields(kind)
            if field.default is dataclasses.MISSING
        }
        for url in WITH_SECRET:
            value = (url,) if isinstance(_default(kind, name, required), tuple) else url
            with pytest.raises(ConfigError) as refused:
                kind(**{**required, name: value})
            assert SECRET not in str(refused.value)
            assert "\n" not in str(refused.value)
            checked += 1
    assert checked > 1000


@pytest.mark.parametrize("url", WITHOUT)
def test_urls_without_a_secret_are_taken(url: str) -> None:
    assert urls.problem(url) is None
    assert TrainConfig(data=url, output="x", mlflow=url).mlflow == url


@pytest.mark.parametrize(
    "where", ["option", "file", "list in a file", "key in a file", "submit", "number", "extra word"]
)
def test_a_password_for_mlflow_is_printed_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    url = f"http://user:{SECRET}@127.0.0.1:9"
    settings = tmp_path / "settings.yaml"
    line = {"list in a file": f"mlflow: [{url}]", "key in a file": f"? {url}\n: 1"}
    settings.write_text(line.get(where, f"mlflow: {url}") + "\n")
    words: list[Any] = ["train", tmp_path, "-o", tmp_path / "run", "--dry-run", "--json"]
    if where == "submit":
        words = ["submit", "--address", "http://127.0.0.1:9", "train", tmp_path, "-o", tmp_path]
    option = {"number": ["--epochs", url], "extra word": [url]}.get(where, ["--mlflow", url])
    words += ["--config", settings] if "file" in where else option
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert SECRET not in printed.out + printed.err
    assert "http://…@127.0.0.1:9" in printed.err
    assert not (tmp_path / "run").exists()


def test_an_address_in_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (f"ray://user:{SECRET}@host:1", f"user:{SECRET}@host:6379"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        for check in (session.check, lambda: head_client.url(None)):
            with pytest.raises(ConfigError) as refused:
                check()
            assert SECRET not in str(refused.value)


def test_a_file_may_have_a_server_in_one_setting_and_an_at_sign_in_another(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("mlflow: http://host:5000\nexclude: &all [http://host, a@b/c.png]\n")
    found = files.resolve(TrainConfig, {"data": "x", "output": "y"}, file)
    assert found.exclude == ("http://host", "a@b/c.png")


def _default(kind: type[Config], name: str, required: dict[str, Any]) -> Any:
    (field,) = (field for field in dataclasses.fields(kind) if field.name == name)
    return required.get(name, field.default)
