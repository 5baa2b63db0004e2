"""The page of a report in a real headless Chromium: `apt-get install chromium chromium-driver`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import Select, WebDriverWait

from cnnjobs.cli.command_line import command_line
from cnnjobs.config import ReportConfig
from cnnjobs.models import bundle as bundles
from cnnjobs.reporting.report import report
from tests.support import axe, report_runs
from tests.support.bundles import write_bundle
from tests.support.report_runs import EVIL, SCORES

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs Debian's chromium and chromium-driver"
)

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

#: Images shown at once; see page.js.
PAGE = 60

NUM_MANY = 5000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_bundle(folder / "bundle", "covid-gap")
    return folder


@pytest.fixture(scope="module")
def few(folder: Path) -> Path:
    """A page of eight images, one with markup in its name."""
    names = [EVIL, *(f"{number}.png" for number in range(1, len(SCORES)))]
    paths = report_runs.draw(folder / "few", names)
    return _page(folder, "few", paths, list(SCORES))


@pytest.fixture(scope="module")
def many(folder: Path) -> Path:
    """A page of 5,000 images."""
    names = [f"{number:04}.png" for number in range(NUM_MANY)]
    paths = report_runs.draw(folder / "many", names, height=16, width=16)
    scores = [("opacity" if number % 7 == 0 else "normal", 0.02) for number in range(NUM_MANY)]
    return _page(folder, "many", paths, scores)


@pytest.fixture(scope="module")
def whole(folder: Path, few: Path) -> Path:
    """A page of a training and an evaluation, with the words of a card."""
    bundle = bundles.read(str(folder / "bundle"))
    training, page = str(folder / "training"), folder / "whole.html"
    report_runs.write_train(training, bundle, [str(path) for path in (folder / "few").iterdir()])
    (folder / "card.yaml").write_text("intended_use: A course.\nauthors: [A. Author]\n")
    runs = (training, str(folder / "few-run"))
    config = ReportConfig(runs=runs, output=str(page), card=str(folder / "card.yaml"))
    report(config, spell=command_line)
    return page


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def test_the_page_opens_without_an_error(browser: WebDriver, few: Path) -> None:
    _open(browser, few)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert _counts(browser) == "8 of 8 images: 2 wrong, 2 uncertain, 1 without a score"
    # most wrong first
    assert _names(browser)[:2] == ["1.png", "4.png"]


def test_markup_in_a_name_is_shown_as_text(browser: WebDriver, few: Path) -> None:
    _open(browser, few)
    assert EVIL in _names(browser)
    assert not browser.find_elements("css selector", "img[onerror]")


def test_filters_and_sort_orders_combine(browser: WebDriver, few: Path) -> None:
    _open(browser, few)
    for kind, names in (
        ("wrong", ["1.png", "4.png"]),
        ("uncertain", ["5.png", "2.png"]),
        ("error", ["7.png"]),
        ("right", ["2.png", "5.png", EVIL, "3.png"]),
    ):
        _choose(browser, "kind", kind)
        assert sorted(_names(browser)) == sorted(names)
    _choose(browser, "kind", "")
    _choose(browser, "label", "normal")
    _choose(browser, "order", "lowest")
    assert _names(browser) == [EVIL, "2.png", "1.png"]
    _choose(browser, "order", "highest")
    _choose(browser, "prediction", "normal")
    assert _names(browser) == ["2.png", EVIL]
    assert _counts(browser) == "2 of 8 images: 0 wrong, 1 uncertain, 0 without a score"


def test_names_can_be_searched_and_filters_cleared(browser: WebDriver, few: Path) -> None:
    _open(browser, few)
    browser.find_element("name", "name").send_keys("ONERROR")
    assert _names(browser) == [EVIL]
    browser.find_element("css selector", "button[type=reset]").send_keys(Keys.ENTER)
    WebDriverWait(browser, 10).until(lambda _: len(_names(browser)) == len(SCORES))


def test_the_keyboard_opens_moves_between_and_closes_images(browser: WebDriver, few: Path) -> None:
    _open(browser, few)
    browser.find_element("css selector", ".card").send_keys(Keys.ENTER)
    assert browser.find_element("id", "image-name").text == "1.png"
    fields = browser.find_element("id", "fields").text.split("\n")
    assert fields[:6] == ["P(opacity)", "0.980", "Label", "normal", "Prediction", "opacity"]
    picture = browser.find_element("css selector", "#pictures img")
    assert picture.get_attribute("alt") == "1.png, labelled normal, predicted opacity"
    _press(browser, Keys.ARROW_RIGHT)
    assert browser.find_element("id", "image-name").text == "4.png"
    _press(browser, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert browser.find_element("id", "image-name").text == "1.png"
    _press(browser, Keys.ARROW_RIGHT, Keys.ESCAPE)
    assert not browser.find_element("id", "image").is_displayed()
    # the focus returns to the last image
    _wait_for_focus(browser, 1)


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(browser: WebDriver, few: Path, width: int) -> None:
    size = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        _open(browser, few)
        wide = "return document.documentElement.scrollWidth"
        assert browser.execute_script(wide) <= width
        browser.find_element("css selector", ".card").send_keys(Keys.ENTER)
        assert browser.execute_script(wide) <= width
        assert browser.find_element("id", "image").size["width"] <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_of_five_thousand_images_only_one_page_is_in_the_document(
    browser: WebDriver, many: Path
) -> None:
    _open(browser, many)
    assert browser.get_log("browser") == []
    assert _counts(browser).startswith("5,000 of 5,000 images: 715 wrong")
    assert len(_names(browser)) == PAGE
    assert browser.execute_script("return document.querySelectorAll('*').length") < 1500
    browser.find_element("id", "later").send_keys(Keys.ENTER)
    assert browser.find_element("id", "page").text == "Page 2 of 84"
    assert len(_names(browser)) == PAGE
    _choose(browser, "kind", "wrong")
    assert browser.find_element("id", "page").text == "Page 1 of 12"


def test_the_dialog_moves_on_to_the_next_page(browser: WebDriver, many: Path) -> None:
    _open(browser, many)
    browser.find_element("css selector", f"[data-index='{PAGE - 1}']").send_keys(Keys.ENTER)
    _press(browser, Keys.ARROW_RIGHT, Keys.ESCAPE)
    _wait_for_focus(browser, PAGE)
    assert browser.find_element("id", "page").text == "Page 2 of 84"


def test_folded_details_are_printed_and_what_paper_leaves_out_is_said(
    browser: WebDriver, few: Path
) -> None:
    _open(browser, few)
    folded = "return document.querySelectorAll('details:not([open])').length"
    before = browser.execute_script(folded)
    browser.execute_script(
        "window.folded = null; addEventListener('beforeprint', () => {"
        "window.folded = document.querySelectorAll('details:not([open])').length })"
    )
    assert browser.print_page()
    assert (browser.execute_script("return window.folded"), before > 0) == (0, True)
    note = browser.find_element("id", "printed")
    assert not note.is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert note.text == (
            "On paper are 8 of these images, those of page 1 of 1. The others, larger pictures, "
            "heat maps and file paths are only in the HTML file."
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_no_filter_is_clipped(browser: WebDriver, few: Path) -> None:
    _open(browser, few)
    # a select is as wide as its longest option unless it is held back
    script = """
        return [...document.querySelectorAll('#filters select')].filter((select) => {
          const free = select.cloneNode(true);
          free.style.cssText = 'width:auto;max-width:none;position:absolute;visibility:hidden';
          select.after(free);
          const isClipped = select.offsetWidth < free.offsetWidth;
          free.remove();
          return isClipped;
        }).map((select) => select.name)"""
    assert browser.execute_script(script) == []


def test_charts_follow_a_dark_screen_and_paper_does_not(browser: WebDriver, few: Path) -> None:
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    _open(browser, few)
    browser.execute_script(
        "const chart = new Image(); chart.className = 'chart'; chart.id = 'chart';"
        "document.body.append(chart)"
    )
    filtered = "return getComputedStyle(document.getElementById('chart')).filter"
    found = {}
    for media in ("screen", "print"):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [dark]})
        found[media] = browser.execute_script(filtered)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert found == {"screen": "invert(0.9) hue-rotate(180deg)", "print": "none"}


@pytest.mark.skipif(
    not axe.AXE.is_file(), reason=f"needs {axe.AXE}: npm install --no-save axe-core, or AXE_CORE"
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_axe_finds_nothing(browser: WebDriver, whole: Path, scheme: str, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    colors = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": colors})
    try:
        _open(browser, whole)
        assert axe.violations(browser) == []
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        browser.find_element("css selector", ".card").send_keys(Keys.ENTER)
        assert axe.violations(browser) == []
        browser.execute_script("document.getElementById('pictures').append(new Image())")
        (found,) = axe.violations(browser)
        assert found.startswith("image-alt: ")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _page(folder: Path, name: str, paths: list[str], scores: list) -> Path:
    bundle = bundles.read(str(folder / "bundle"))
    run = str(folder / f"{name}-run")
    report_runs.write_evaluate(run, bundle, report_runs.predictions(paths, scores))
    page = folder / f"{name}.html"
    report(ReportConfig(runs=(run,), output=str(page)), spell=command_line)
    return page


def _open(browser: WebDriver, page: Path) -> None:
    browser.get(page.as_uri())


def _press(browser: WebDriver, *keys: str) -> None:
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def _wait_for_focus(browser: WebDriver, index: int) -> None:
    """The page handles the closing of its dialog a moment later."""
    script = "return document.activeElement.dataset.index"
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(script) == str(index))


def _choose(browser: WebDriver, name: str, value: str) -> None:
    Select(browser.find_element("name", name)).select_by_value(value)


def _counts(browser: WebDriver) -> str:
    return browser.find_element("id", "counts").text


def _names(browser: WebDriver) -> list[str]:
    script = "return [...document.querySelectorAll('.card .name')].map(each => each.textContent)"
    return browser.execute_script(script)
