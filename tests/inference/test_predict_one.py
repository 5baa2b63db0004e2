"""Scoring single images: no Ray, one line per image."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnjobs.cli import main
from cnnjobs.data import synthetic
from cnnjobs.models.bundle import Bundle
from tests.support.bundles import write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "gap", "covid-gap")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "archive"
    synthetic.write_archive(folder, num_images=4, num_broken=1, seed=2)
    return folder


def run(*words: str) -> int:
    """Run the command; returns its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["predict-one", *words])
    return int(str(ended.value.code))


def test_each_image_is_one_line_and_a_bad_image_says_why(
    bundle: Bundle, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(file) for file in sorted(archive.glob("*/*"))]
    plot = tmp_path / "plot.png"

    assert run(bundle.uri, *files, "--plot", str(plot)) == 3

    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == bundle.name
    assert [line.split()[0] for line in lines[2:-1]] == files
    assert sum(" - " in line for line in lines[2:-1]) == 1
    assert lines[-1] == f"plot: {plot}"
    assert cv2.imread(str(plot)) is not None
    assert printed.err.startswith("error: no score for 1 of 5 images, the first of them ")


def test_json_output_has_the_columns_of_predict(
    bundle: Bundle, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next(file for file in sorted(archive.glob("*/*")) if file.stat().st_size > 5000)

    assert run(bundle.uri, str(file), "--json") == 0

    summary = json.loads(capsys.readouterr().out)
    (row,) = summary["images"]
    assert summary["engine"] == "openvino"
    assert row["path"] == str(file)
    assert row["prediction"] == ("opacity" if row["probability"] >= 0.5 else "normal")


def test_the_pixels_of_an_image_are_explained(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deep.png"
    cv2.imwrite(str(file), np.full((400, 500), 3000, np.uint16))

    assert run(bundle.uri, str(file), "--explain-pixels") == 0

    lines = capsys.readouterr().out.splitlines()
    start = lines.index(f"pixels of {file}:")
    height, width = bundle.preprocessing.height, bundle.preprocessing.width
    assert f"  shrunk to {width} x {height} pixels by averaging over areas" in lines[start:]
    assert "  scaled from 12 to 8 bits" in lines[start:]


def test_neither_ray_nor_tensorflow_is_imported(bundle: Bundle, archive: Path) -> None:
    file = next(archive.glob("normal/*"))
    code = f"""
import sys
from cnnjobs.cli import main
try:
    main(["predict-one", {bundle.uri!r}, {str(file)!r}, "--quiet"])
except SystemExit as ended:
    print(ended.code, [name for name in ("ray", "tensorflow", "keras") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "0 []"


def test_no_images_are_a_usage_error(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bundle.uri) == 2
    assert capsys.readouterr().err == (
        "error: images must be given, on the command line or in --config.\n"
    )


def test_a_missing_image_is_an_exit_code_of_3_also_without_anything_to_draw(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = f"{tmp_path}/gone.png"

    assert run(bundle.uri, gone, "--plot", f"{tmp_path}/p.png", "--json") == 3

    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert (summary["images"][0]["error"], summary["plot"]) == ("missing: the file is gone", None)
    assert printed.err.splitlines()[-1] == (
        f"error: no score for 1 of 1 images, the first of them {gone} (missing: the file is gone)."
    )
    assert not (tmp_path / "p.png").exists()
