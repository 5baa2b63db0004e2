"""Every command of docs/tables.md, in the order of the page, on drawn data of the same shape."""

import csv
import re
import shlex

import cv2
import numpy as np
import pandas as pd
import pytest

from cnnjobs.cli.runner import main
from cnnjobs.data import manifest
from cnnjobs.data.phantoms import phantom
from tests.support import image_files
from tests.support.command_lines import FENCED, command_lines
from tests.support.label_tables import LAYOUTS, touch
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
COMMANDS = list(command_lines(PAGE))


def _write(file, columns):
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the page's commands read."""
    folder = tmp_path_factory.mktemp("tables")
    names = [f"{number:03d}.png" for number in range(48)]
    for number, name in enumerate(names):
        touch(folder / "images" / name)
        pixels = phantom(np.random.default_rng(number), height=72, width=80, opacity=False)
        cv2.imwrite(str(folder / "images" / name), pixels)
    patients = [f"p{number // 2:02d}" for number in range(48)]
    people = {
        "patient": patients, "sex": ["F", "M"] * 24, "age": [10 + n for n in range(48)],
        "hospital": ["north"] * 20 + ["south"] * 28, "view": ["PA", "AP", "AP", "PA"] * 12,
    }  # fmt: skip
    findings = ["COVID-19", "No Finding", "Mass"] * 16
    _write(folder / "labels.csv", {"file": names, "finding": findings, **people})
    table = {"file": names, "Pneumonia": [1, 0, -1, ""] * 12, "No Finding": [0, 1, 0, ""] * 12}
    _write(folder / "findings.csv", {**table, **people})
    for layout, make in LAYOUTS.items():
        (folder / layout).mkdir()
        make(folder / layout)
    (folder / "pacs").mkdir()
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (80, 90), np.uint8)
        data = image_files.dicom(
            noise,
            AccessionNumber=f"A{number}",
            PatientID=f"J{number}",
            StudyInstanceUID=f"1.{number}",
        )
        (folder / f"pacs/IM{number}").write_bytes(data)
    studies = {"AccessionNumber": [f"A{number}" for number in range(12)], "label": ["a", "b"] * 6}
    _write(folder / "studies.csv", studies)
    for number, hospital in enumerate(("north", "south")):
        touch(folder / hospital / "p1/x.png")
        image = phantom(np.random.default_rng(number + 99), height=72, width=80, opacity=False)
        cv2.imwrite(str(folder / hospital / "p1/x.png"), image)
        _write(folder / f"{hospital}.csv", {"path": ["p1/*"], "group": ["1"]})
    return folder


def test_the_commands_of_the_page_run_and_print_what_it_says(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert len(COMMANDS) >= 10
    for words in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--quiet"])
        printed, complaint = capsys.readouterr()
        assert (ended.value.code, complaint) == (0, ""), shlex.join(words)
        output = words[words.index("-o") + 1]
        assert f"manifest: {folder}/{output}" in printed
        if words is COMMANDS[0]:
            shown = next(block for _, block in FENCED.findall(PAGE) if "columns kept" in block)
            lines = shown.replace("/data/", f"{folder}/").splitlines()
            assert [line for line in lines if line not in printed.splitlines()] == []
    adults = manifest.read("adults.parquet")
    assert adults.labels == ["covid", "normal"]
    assert min(adults.table["age"].to_pylist()) >= 18
    assert manifest.read("pneumonia.parquet").labels == ["negative", "pneumonia"]
    assert manifest.read("nih14-pneumonia.parquet").labels == ["negative", "positive"]
    assert manifest.read("two.parquet").table["group"].to_pylist() == ["north/1", "south/1"]


def test_the_python_of_the_page_makes_a_manifest(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit):
        main([*COMMANDS[0], "--overwrite", "--quiet"])
    paths = pd.read_parquet("manifest.parquet")["path"]
    _write(folder / "scanners.csv", {"path": paths, "scanner": ["x", "y"] * 24})
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "docs/tables.md", "exec"), {})
    assert manifest.read("joined.parquet").table["scanner"].to_pylist() == ["x", "y"] * 24
