"""axe-core in a browser: what it finds wrong with a page for those who do not see it.

It is not on PyPI for this Python. `npm install --no-save axe-core` puts it into the checkout, or
AXE_CORE names another `axe.min.js`.
"""

import os
from pathlib import Path

from selenium.webdriver.remote.webdriver import WebDriver

from tests.support.paths import ROOT

AXE = Path(os.environ.get("AXE_CORE") or ROOT / "node_modules/axe-core/axe.min.js")

_RUN = """
    const done = arguments[arguments.length - 1];
    axe.run().then((found) => done({
      passes: found.passes.length,
      violations: found.violations.flatMap(({ id, help, nodes }) =>
        nodes.map((node) => `${id}: ${help}: ${node.html.slice(0, 200)}`)),
    }), (error) => done({ passes: 0, violations: [String(error)] }));"""


def violations(browser: WebDriver) -> list[str]:
    """One line for each element of the open page that breaks a rule of axe-core."""
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    found = browser.execute_async_script(_RUN)
    # it did look at the page
    assert found["violations"] or found["passes"] > 10, found
    return list(found["violations"])
