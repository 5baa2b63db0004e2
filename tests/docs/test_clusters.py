"""docs/clusters.md: its commands are run as they stand there, and show what stands below them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.cli import without_progress
from tests.support.command_lines import FENCED
from tests.support.hosts import why_not
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")

#: A machine of its own: no process or port of another Ray, and Ray finds an address.
_MACHINE = """
ip link set lo up
ip link add eth0 type veth peer name eth1
ip address add 10.88.0.1/24 dev eth0
ip link set eth0 up
ip link set eth1 up
ip route add default via 10.88.0.254
"""

_MARK = "@@ exit code "

#: What Ray's own command line prints around its lines where there is no terminal.
_LOGGED = re.compile(r"^\S+ \S+\t[A-Z]+ \w+\.py:\d+ -- |\x1b\[\d+m", re.MULTILINE)

#: The sections whose commands are run.
RUN = (
    "One job on one machine",
    # each starts a head, and a job on it
    pytest.param("A Ray that keeps running", marks=pytest.mark.slow),
    pytest.param("A Ray of `ray start`", marks=pytest.mark.slow),
    "AWS",
    "Kubernetes",
)


@pytest.fixture
def folder(untrained: Path, archive: Path, tmp_path: Path) -> Path:
    """A folder with what the commands name."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(untrained)
    (tmp_path / "archive").symlink_to(archive)
    (tmp_path / "infra").symlink_to(ROOT / "infra")
    return tmp_path


@pytest.mark.parametrize("section", RUN)
def test_a_section_shows_what_its_commands_print(section: str, folder: Path) -> None:
    reason = why_not() if shutil.which("unshare") else "no unshare command"
    if section == "Kubernetes" and shutil.which("kubectl") is None:
        reason = "no kubectl command"
    if reason is not None:
        pytest.skip(reason)
    shown = _shown(section)
    assert shown
    printed = _run(list(shown), folder)
    for command, (code, output) in zip(shown, printed, strict=True):
        expected = shown[command]
        assert re.fullmatch(_pattern(expected), output), f"{command}:\n{output}"
        assert (code != 0) == expected[0].startswith("error: "), command


def test_what_is_not_run_names_files_and_options_that_exist() -> None:
    lines = [line for name in ("AWS", "Kubernetes") for line in _lines(name)]
    for words in map(str.split, lines):
        named = [word for word in words if word.endswith(".yaml") or word.startswith("infra/")]
        assert all((ROOT / word).exists() for word in named), words
        if words[0] == "ray":
            command = [Path(sys.executable).with_name("ray"), words[1], "--help"]
            listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert all(word in listed for word in words if word.startswith("--")), words
    assert {line.split()[0] for line in lines} == {"ray", "export", "cnnjobs", "kubectl"}


@pytest.mark.parametrize(
    ("expected", "output", "fits"),
    [
        (["193 images", "..."], "45 images\nmore\nand more\n", True),
        (["193 images", "..."], "45 images\n", True),
        (["193 images"], "45 images\nmore\n", False),
        (["at .../scored, done"], "at /tmp/a/scored, done\n", True),
        (["two"], "three\n", False),
    ],
)
def test_numbers_and_dots_stand_for_others(expected: list[str], output: str, fits: bool) -> None:
    assert bool(re.fullmatch(_pattern(expected), output)) is fits


def _section(name: str) -> str:
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def _shown(section: str) -> Mapping[str, list[str]]:
    """The commands of a section, and the lines below each."""
    shown: dict[str, list[str]] = {}
    for block in re.findall(r"```console\n(.*?)```", _section(section), flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                command = line.removeprefix("$ ")
                # the same command a second time prints something else
                command += " " * sum(each.strip() == command for each in shown)
                shown[command] = []
            else:
                shown[command].append(line)
    return shown


def _lines(section: str) -> list[str]:
    """The commands of a section that are not run."""
    blocks = FENCED.findall(_section(section).replace("```console", "```text"))
    page = "\n".join(block for _, block in blocks if not block.startswith("$ "))
    return [line for line in page.replace("\\\n", " ").splitlines() if line]


def _pattern(lines: list[str]) -> str:
    """What fits such lines: numbers are those of another machine, `...` is anything."""
    pattern = ""
    for line in lines:
        if line == "...":
            pattern += r"(?:.*\n)*?"
            continue
        text = re.escape(line).replace(r"\.\.\.", ".*")
        pattern += re.sub(r"\d+(?:\\\.\d+)*", r"[\\d.]+", text) + r"\n"
    return pattern


def _run(commands: list[str], folder: Path) -> list[tuple[int, str]]:
    """Run commands in a shell on a machine of its own: their exit codes and what they print."""
    # sockets have short names only
    temp = Path(tempfile.mkdtemp(prefix="cp-"))
    lines = [f'{command}\necho "{_MARK}$?"' for command in commands]
    script = f"set -e\n{_MACHINE}\nset +e\ncd {folder}\n" + "\n".join(lines)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RAY_TMPDIR": str(temp),
        "COLUMNS": "200",
    }
    apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    try:
        done = subprocess.run(
            [*apart, "bash", "-c", script],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=580,
        )
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    found = re.findall(rf"((?:.*\n)*?){_MARK}(\d+)\n", done.stdout)
    return [(int(code), without_progress(_LOGGED.sub("", output))) for output, code in found]
