"""Versions of this package and of those whose results may differ by version."""

import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from cnnjobs import __version__

_PACKAGES = ("ray", "tensorflow", "keras", "opencv-python-headless", "numpy", "pyarrow")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages whose results may differ by version."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in _PACKAGES
    }


def code_version() -> str:
    """The package's version, with the commit where it runs from a checkout and Git is there."""
    package, git = Path(__file__).parents[1], shutil.which("git")
    if git is None or not (package.parent / ".git").exists():
        return __version__
    described = subprocess.run(  # noqa: S603 - the one of the user's PATH, as in their shell
        [git, "describe", "--always", "--dirty"],
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{__version__}+{described.stdout.strip()}" if described.stdout else __version__
