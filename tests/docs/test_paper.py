"""Every command of docs/paper.md, in the order of the page, on drawn data."""

import csv
import re
import shlex

import pytest

from cnnjobs.cli.runner import main
from cnnjobs.data import synthetic
from tests.support.command_lines import command_lines
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
COMMANDS = list(command_lines(PAGE))


def _drawn(folder, name, table, *, seed):
    """Drawings, and a table of them with two images per patient."""
    synthetic.write_archive(folder / name, num_images=96, num_broken=0, seed=seed)
    files = sorted((folder / name).glob("*/*.*"))
    with (folder / table).open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["filename", "finding", "patientid", "sex", "age"])
        for number, file in enumerate(files):
            people = [f"p{number // 2}", "FM"[number // 2 % 2], 25 + number // 2 % 50]
            rows.writerow([file.name, file.parent.name, *people])


@pytest.mark.slow  # trains a model: about a minute
def test_the_commands_of_the_page_make_figures_and_a_card(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _drawn(tmp_path, "images", "metadata.csv", seed=0)
    _drawn(tmp_path, "elsewhere", "elsewhere.csv", seed=1)
    (card,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "card.yaml").write_text(card)
    assert [words[0] for words in COMMANDS] == [
        *("index", "index", "inspect", "train", "evaluate", "audit", "report"),
    ]
    for words in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--quiet"])
        complaint = capsys.readouterr().err
        assert (ended.value.code, complaint) == (0, ""), shlex.join(words)
    included = re.findall(r"\\includegraphics\{(.*)\}", PAGE)
    assert included
    assert all((tmp_path / file).read_bytes().startswith(b"%PDF") for file in included)
    page = (tmp_path / "card.html").read_text()
    assert "<h1>Opacities in the north</h1>" in page
    for section in ("card", "external", "data", "evaluation", "audit", "gallery", "checklists"):
        assert f'<section id="{section}">' in page
    assert "By sex." in page
    assert "By age." in page
    assert "Comparing training settings in a course." in page
