"""The notebooks run from top to bottom, on less than they would take of a reader's time."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("shared_ray")

EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted(file.name for file in EXAMPLES.glob("*.ipynb"))


@pytest.fixture
def shared_ray(ray_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks use the Ray of the tests."""
    monkeypatch.setenv("RAY_ADDRESS", ray_address)


def run(name: str, folder: Path, settings: str) -> list[str]:
    """Run a notebook in a folder; returns what each code cell printed and showed.

    `settings` take the place of the values in the cell with the tag "parameters".
    """
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    (tagged,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    tagged.source += f"\n{settings}"
    client = NotebookClient(
        notebook, timeout=580, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [shown(cell) for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: NotebookNode) -> str:
    """The text of a cell's outputs, the PNGs by their type alone."""
    texts = []
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        for kind, data in output.get("data", {}).items():
            texts.append("<png>" if kind == "image/png" else str(data))
    return "\n".join(texts)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_committed_without_outputs(name: str) -> None:
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[] for _ in code]
    assert {cell.execution_count for cell in code} == {None}


@pytest.mark.slow
def test_the_lab_sheet_goes_from_an_image_to_a_prediction(tmp_path: Path) -> None:
    cells = run("lab_sheet.ipynb", tmp_path, "EPOCHS, NUM_DRAWINGS = 1, 30")
    assert cells[1].startswith("32 files, the first one is lab-sheet/drawings/normal/")
    assert [number for number, text in enumerate(cells) if "<png>" in text] == [2, 4, 5, 9]
    assert "files that cannot be read: 2" in cells[3]
    # the bars of the training, below its cell
    assert "epoch" in cells[5]
    assert "━" in cells[5]
    assert "auroc" in cells[6]
    assert cells[7].startswith("audit: ")
    assert "P(opacity) = 0." in cells[8]


@pytest.mark.slow
def test_the_digits_are_read_by_ten_outputs(tmp_path: Path) -> None:
    cells = run("digits.ipynb", tmp_path, "EPOCHS, NUM_DIGITS = 1, 200")
    assert "accuracy" in cells[3]
    assert "(2, 10) float32" in cells[5]


@pytest.mark.slow
def test_an_archive_is_scored_though_stopped_and_then_only_what_is_new(tmp_path: Path) -> None:
    settings = "NUM_ARCHIVED, NUM_NEW, EPOCHS = 150, 10, 1"
    cells = run("overnight.ipynb", tmp_path, settings)
    assert cells[3].endswith("stopped\n")
    assert "is not finished (status stopped)" in cells[4]
    # progress bars may leave empty lines before it
    (counts,) = (line for line in cells[5].splitlines() if "scored before" in line)
    before, now = (int(text.split()[0]) for text in counts.split(","))
    assert 0 < before < 155
    assert before + now in range(145, 156)
    assert "'new': 10" in cells[6]
    assert "- 10 scored" in cells[6]
    assert (tmp_path / "overnight-run" / "report.html").exists()
