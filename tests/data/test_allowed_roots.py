"""`--allowed-root`: manifests and tables from elsewhere name no image outside of it."""

import typing
import zipfile
from pathlib import Path

import pytest

from cnnjobs.config import Config, IndexConfig
from cnnjobs.config.images import ImageSettings
from cnnjobs.data import synthetic
from cnnjobs.data.index import index
from cnnjobs.errors import InputError
from cnnjobs.storage import filesystem
from tests.support.cli import run_here


@pytest.fixture
def xrays(tmp_path: Path) -> Path:
    """`inside` and, beside it, `inside2`, with a manifest of both."""
    for name in ("inside", "inside2"):
        synthetic.write_archive(tmp_path / name, num_images=2, num_broken=0)
    return tmp_path


def _indexed(folder: Path, *sources: object) -> str:
    output = str(folder / "manifest.parquet")
    index(IndexConfig(sources=tuple(map(str, sources)), output=output, content=False, split=False))
    return output


@pytest.mark.parametrize("command", ["inspect", "predict", "evaluate", "train", "crossval"])
def test_every_command_refuses_a_manifest_that_leads_elsewhere(
    xrays: Path, capsys: pytest.CaptureFixture[str], untrained: Path, command: str
) -> None:
    data = _indexed(xrays, xrays / "inside", xrays / "inside2")
    words = {
        "predict": ["predict", str(untrained), data, "-o", f"{xrays}/run"],
        "evaluate": ["evaluate", str(untrained), data],
        "inspect": ["inspect", data],
    }.get(command, [command, data, "-o", f"{xrays}/run"])
    code, _, message = run_here(capsys, *words, "--allowed-root", f"{xrays}/inside", "--dry-run")
    assert code == 2
    assert f"2 of 4 images are not below {xrays}/inside, for example {xrays}/inside2/" in message


def test_every_command_that_takes_data_has_the_setting() -> None:
    kinds = [kind for kind in typing.get_args(Config) if issubclass(kind, ImageSettings)]
    assert {kind.__name__.removesuffix("Config") for kind in kinds} == {
        *("Index", "Inspect", "Train", "Tune", "Crossval"),
        *("Evaluate", "Audit", "Quantize", "Predict"),
    }


def test_links_and_dots_that_lead_out_are_followed(xrays: Path) -> None:
    inside = xrays / "inside"
    (inside / "link.png").symlink_to(next((xrays / "inside2").rglob("phantom-*")))
    with pytest.raises(InputError, match=r"1 of 3 images .* for example .*/inside/link\.png"):
        _index(inside, inside)
    (inside / "link.png").unlink()
    with zipfile.ZipFile(xrays / "inside2" / "images.zip", "w") as opened:
        opened.writestr("a.png", b"x")
    (inside / "link.zip").symlink_to(xrays / "inside2" / "images.zip")
    with pytest.raises(InputError, match=r"1 of 3 images .* for example .*/link\.zip::a\.png"):
        _index(inside, inside)
    (inside / "link.zip").unlink()
    link = xrays / "root"
    link.symlink_to(inside)
    assert _index(link, inside).num_images == 2
    assert _index(f"{inside}/../inside/", inside).num_images == 2


def test_a_table_that_names_files_elsewhere_is_refused(xrays: Path) -> None:
    table = xrays / "table.csv"
    (other,) = list((xrays / "inside2").rglob("phantom-*"))[:1]
    table.write_text(f"path,label\n../inside2/{other.relative_to(xrays / 'inside2')},normal\n")
    with pytest.raises(InputError, match=r"not below|names"):
        _index(xrays / "inside", xrays / "inside", table=(str(table),))


def test_prefixes_on_s3_are_roots_too(s3: str, tmp_path: Path) -> None:
    for name in ("a/1.png", "ab/2.png"):
        filesystem.write_bytes(f"{s3}/{name}", b"x")
    data = _indexed(tmp_path, f"{s3}/a", f"{s3}/ab")
    config = {"output": str(tmp_path / "other.parquet"), "content": False, "split": False}
    assert index(IndexConfig(sources=(f"{s3}/a",), allowed_root=(f"{s3}/a",), **config))
    for roots in ((f"{s3}/a",), (str(tmp_path),)):
        with pytest.raises(InputError, match=r"of 2 images are not below"):
            index(
                IndexConfig(
                    **{**config, "output": f"{tmp_path}/{len(roots[0])}.parquet"},
                    sources=(f"{s3}/a", f"{s3}/ab"),
                    allowed_root=roots,
                )
            )
    assert data


def _index(root: object, *sources: Path, **settings: object) -> object:
    output = f"{sources[0].parent}/indexed.parquet"
    return index(
        IndexConfig(
            sources=tuple(map(str, sources)),
            output=output,
            allowed_root=(str(root),),
            content=False,
            split=False,
            overwrite=True,
            **settings,
        )
    )
