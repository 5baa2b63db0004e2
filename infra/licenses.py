"""Print the license of everything installed as a table, the copyleft ones first.

`python infra/licenses.py` in the environment in question, such as the image's; exits with 1 if a
package is under the GPL or AGPL.
"""

import re
import sys
from importlib import metadata

_COPYLEFT = re.compile(r"\b[AL]?GPL|GNU|Mozilla|\bMPL|\bEPL|Eclipse|EUPL|CDDL", re.IGNORECASE)
_LESSER = re.compile(r"LGPL|Lesser|Library General", re.IGNORECASE)
_STRONG = re.compile(r"\bA?GPL|GNU (Affero )?General", re.IGNORECASE)


def main() -> int:
    """Print the table; 1 if there is a package under the GPL."""
    found = sorted({_described(each) for each in metadata.distributions()}, key=_order)
    print("| package | version | license | copyleft |\n| --- | --- | --- | --- |")
    for name, version, text in found:
        print(f"| {name} | {version} | {text} | {'yes' if _COPYLEFT.search(text) else ''} |")
    strong = [name for name, _, text in found if _STRONG.search(_LESSER.sub("", text))]
    print(f"\n{len(found)} packages; under the GPL or AGPL: {', '.join(strong) or 'none'}")
    return int(bool(strong))


def _described(package: metadata.Distribution) -> tuple[str, str, str]:
    about = package.metadata
    classifiers = about.get_all("Classifier") or []
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")]
    # the field License may hold the whole text
    short = (about.get("License") or "").strip().partition("\n")[0][:60]
    text = about.get("License-Expression") or "; ".join(named) or short or "unknown"
    return about["Name"], package.version, text


def _order(found: tuple[str, str, str]) -> tuple[bool, str]:
    return not _COPYLEFT.search(found[2]), found[0].lower()


if __name__ == "__main__":
    sys.exit(main())
