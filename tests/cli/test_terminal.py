"""Names of files must not act on a terminal: what is not printable is escaped."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from cnnjobs.cli import runner
from cnnjobs.config import IndexConfig
from cnnjobs.config.printable import printable, printable_log
from cnnjobs.reporting import render
from cnnjobs.reporting.blocks import Section, Tile
from tests.support.cli import run_here

#: An ESC sequence that clears the screen, one that names the window, a newline, a carriage return,
#: a bidi override, a C1 control, a zero-width space, and a byte that is not UTF-8.
EVIL = "a\x1b[2J\x1b]0;owned\x07\nwarning: forged\r\u202egnp\x9b31m\u200b\udcff"
SHOWN = r"a\x1b[2J\x1b]0;owned\x07\nwarning: forged\r\u202egnp\x9b31m\u200b\xff"


def is_harmless(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


def test_what_is_not_printable_is_escaped_and_the_rest_stays() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("röntgen 胸部 😀 (1).png") == "röntgen 胸部 😀 (1).png"
    assert printable("a\tb\n", lines=True) == "a\tb\n"
    assert (
        printable_log("\x1b[36m(raylet)\x1b[0m a\r\nb\x1b]0;x\x07") == "(raylet) a\nb\\x1b]0;x\\x07"
    )


@pytest.fixture
def evil(tmp_path: Path, archive: Path) -> Path:
    """Drawings whose class, file and folder names would act on a terminal."""
    name = EVIL.replace("\udcff", "")
    folder = tmp_path / "xrays"
    shutil.copytree(archive, folder)
    (folder / "normal").rename(folder / name)
    for file in list(folder.glob("*/*.png"))[:4]:
        file.rename(file.with_name(f"{name}{file.name}"))
    (folder / name / f"bad{name}.png").write_bytes(b"not an image")
    (folder / f"other.{name}x").write_bytes(b"")
    (folder / f".hidden{name}").mkdir()
    return folder


@pytest.mark.parametrize("command", ["index", "index --dry-run", "inspect", "inspect --dry-run"])
def test_no_name_of_an_archive_acts_on_the_terminal(
    capsys: pytest.CaptureFixture[str], evil: Path, command: str
) -> None:
    name, *flags = command.split()
    output = ["-o", f"{evil.parent}/m.parquet"] if name == "index" else []

    code, out, err = run_here(capsys, name, str(evil), *output, *flags)

    assert code == 0
    assert r"\x1b[2J" in out
    assert is_harmless(out)
    assert is_harmless(err)
    assert not any(line.startswith("warning: forged") for line in (out + err).splitlines())
    _, text, _ = run_here(capsys, name, str(evil), *output, *flags, "--json", "--quiet")
    assert json.loads(text)
    assert text.isascii()


@pytest.mark.parametrize(
    "words",
    [
        ["index", EVIL, "-o", "m.parquet"],
        ["index", EVIL, "-o", "m.parquet", "--debug"],
        ["index", "x", "-o", EVIL, "--config", f"/nowhere/{EVIL}"],
        ["inspect", "one", EVIL],
        ["inspect", "one", f"--{EVIL}"],
        [EVIL],
        ["predict-one", EVIL, EVIL],
        ["train", "x", "-o", "y", "--epochs", EVIL],
    ],
)
def test_no_word_of_a_command_line_acts_on_the_terminal(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, out, err = run_here(capsys, *words)

    assert code == 2
    assert err
    assert is_harmless(out + err)
    # the message that a traceback repeats may have lines of its own
    assert "\nwarning: forged" not in out + err or "--debug" in words


@pytest.mark.parametrize("debug", [True, False])
def test_no_unexpected_error_acts_on_the_terminal(
    capsys: pytest.CaptureFixture[str], debug: bool
) -> None:
    run_here(capsys, "--version", *["--debug"][:debug])
    try:
        raise OSError(EVIL)
    except OSError as error:
        sys.excepthook(OSError, error, error.__traceback__)
    assert is_harmless(capsys.readouterr().err)


def test_what_libraries_print_does_not_act_on_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = runner.Job(run=lambda *_: print(EVIL), plan=lambda *_: {}, as_text=str)  # noqa: T201
    runner.run(
        IndexConfig(sources=("a",), output="b"), job, dry_run=False, as_json=False, quiet=True
    )

    assert is_harmless(capsys.readouterr().err)


def test_no_name_on_a_report_page_acts_on_its_reader() -> None:
    page = render.Page(
        title=EVIL,
        subtitle=EVIL,
        verdict=None,
        verdict_name=EVIL,
        line=EVIL,
        warnings=[EVIL],
        tiles=[Tile(name=EVIL, value=EVIL, note=EVIL)],
        before=[Section(name="data", title=EVIL, facts={EVIL: EVIL}, code=[EVIL])],
        after=[],
        gallery={"images": [{"path": EVIL}], "labels": [EVIL]},
        gallery_text=EVIL,
        footer=EVIL,
    )

    html = render.render(page)

    assert is_harmless(html)
    assert r"\u202egnp" in html
