"""Reports in a real browser: nothing on its console, tables that sort, links that lead somewhere."""

import contextlib
import io
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from conftest import QUICK, timed_in_this_process
from results_fixtures import exported, result, write_run
from test_cli import exit_code

from pruneflow.command import isolation
from pruneflow.exports import latency
from pruneflow.report.collect import collect
from pruneflow.report.sweep_page import write_sweep_report

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="chromium and chromedriver are not installed (Debian: chromium-driver)",
    ),
]

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_window_size(1200, 900)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def real_sweep(tmp_path_factory, tiny_data):
    """A sweep of two cells on tiny data, as a user runs it, and one that fails."""
    folder, shown = tmp_path_factory.mktemp("sweep"), io.StringIO()
    words = [*QUICK, "report=true", "latency.seconds=0.2", "hydra.sweep.dir=sweep"]
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(shown):
        patched.chdir(folder)
        patched.setenv("PRUNEFLOW_DATA_DIR", str(tiny_data))
        patched.setattr(isolation, "_after_first", None)
        patched.setattr(latency, "_answer", timed_in_this_process)
        assert exit_code(["-m", *words, "schedule.final_sparsity=0.5,0.8", "seed=0,1"]) == 0
    assert "Report     sweep/report.html" in shown.getvalue()
    return folder / "sweep"


def opened(browser, page, *, width=1200):
    browser.set_window_size(width, 900)
    browser.get(page.resolve().as_uri())
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    return browser


def links(browser):
    found = browser.execute_script(
        "return [...document.querySelectorAll('a')].map(a => a.href.baseVal ?? a.href)"
    )
    base = Path(unquote(urlparse(browser.current_url).path)).parent
    return [Path(unquote(urlparse(link).path)) if ":" in link else base / unquote(link) for link in found]


def column(browser, name):
    script = """
        const table = document.querySelector('table.sortable:last-of-type');
        const headers = [...table.tHead.rows[0].cells].map(cell => cell.textContent.trim());
        const header = headers.indexOf(arguments[0]);
        return [...table.tBodies[0].rows].map(row => row.cells[header].textContent.trim())"""
    return browser.execute_script(script, name)


def click(browser, name):
    for button in browser.find_elements("css selector", "table.sortable th button"):
        if button.text == name:
            button.click()
            return
    raise AssertionError(name)


def test_the_reports_of_a_real_sweep_and_its_runs_open_without_errors_and_their_links_lead_to_files(
    browser, real_sweep
):
    pages = [real_sweep / "report.html", *sorted(real_sweep.glob("*/report.html"))]
    assert len(pages) == 5
    for page in pages:
        found = links(opened(browser, page))
        assert len(found) >= 8
        assert [link for link in found if not link.is_file()] == []
    drawings = browser.find_elements("css selector", "figure svg")
    shown = [drawing.get_attribute("aria-label").split()[0] for drawing in drawings]
    assert shown == ["Bars:", "Lines", "Matrix", "Bars:", "Median", "Images"]
    assert all(drawing.size["width"] > 300 and drawing.size["height"] > 80 for drawing in drawings)


def test_a_mark_leads_to_the_page_of_its_run(browser, real_sweep):
    opened(browser, real_sweep / "report.html")
    mark = browser.find_element("css selector", "#accuracy-size-mark-0 a")
    assert "accuracy" in browser.find_element("css selector", "#accuracy-size-mark-0 title").get_attribute(
        "textContent"
    )
    browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", mark)
    assert "pruned" in browser.title and browser.current_url.endswith("/report.html")
    assert unquote(browser.current_url).count("final_sparsity-") == 1


@pytest.fixture
def made_up(tmp_path):
    """Eleven runs, the last without a latency."""
    for index in range(11):
        file = exported(accuracy=0.9 + index / 200, gzip_bytes=1000 * (index + 1), timed=index < 10)
        write_run(tmp_path / f"run-{index}", result(file, trainer__batch_size=2**index))
    return write_sweep_report(collect([tmp_path]), tmp_path / "report.html")


def test_a_table_sorts_by_figures_up_and_down_and_what_is_missing_comes_last(browser, made_up):
    opened(browser, made_up)
    click(browser, "batch_size")
    assert column(browser, "batch_size") == [str(2**index) for index in range(11)]
    click(browser, "batch_size")
    assert column(browser, "batch_size") == [str(2**index) for index in reversed(range(11))]
    click(browser, "run")
    assert column(browser, "run") == [f"run-{index}" for index in range(11)]  # 10 comes after 9
    for _ in range(2):
        click(browser, "latency, ms")
        assert column(browser, "latency, ms")[-1] == ""
    sorts = browser.execute_script("return document.querySelectorAll('th[aria-sort]').length")
    assert sorts == 1


@pytest.fixture
def crowded(tmp_path):
    """Runs that differ in everything that a table shows, two seeds of each, one of them marked."""
    for index in range(8):
        file = exported(accuracy=0.9 + index / 200, gzip_bytes=1000 * (index + 1))
        file["agreement"] = 0.99 + index / 1000
        file["latency"]["pruned"]["median_ms"] = 0.006 + index / 1000
        file["latency"]["speedup"]["ratio"] = 1 + index / 10
        settings = {"criterion__name": ("magnitude", "random")[index % 2], "trainer__batch_size": 64 << index}
        found = result(file, seed=index // 4, dense_accuracy=0.97 + index / 1000, **settings)
        found["pruned"]["measured_sparsity"] = 0.5 + index / 20
        if index == 7:
            found["judgement"] = {
                "verdict": "dropped",
                "message": "Pruning cost 0.0500.",
                "dense": 0.98,
                "pruned": 0.93,
                "drop": 0.05,
                "chance": 0.1,
                "max_accuracy_drop": None,
            }
        write_run(tmp_path / f"criterion={settings['criterion__name']},batch_size={64 << index}", found)
    return write_sweep_report(collect([tmp_path]), tmp_path / "report.html")


@contextlib.contextmanager
def screen(browser, width, scheme="light"):
    """Emulate a screen; one of less than 500 pixels is a phone."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


CUT = """return [...document.querySelectorAll('.wide, .drawing, .examples, section')]
    .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.textContent.slice(0, 80))"""


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_nothing_is_cut_at_usual_widths(browser, crowded, real_sweep, width):
    pages = [crowded, real_sweep / "report.html", *sorted(real_sweep.glob("*/report.html"))[:1]]
    with screen(browser, width):
        for page in pages:
            opened(browser, page)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert browser.execute_script(CUT) == []


def test_the_accuracy_is_on_the_screen_of_a_phone(browser, crowded):
    with screen(browser, 390):
        opened(browser, crowded)
        script = """return [...document.querySelectorAll('.runs [data-column="accuracy"]')]
            .map(cell => cell.getBoundingClientRect().right)"""
        ends = browser.execute_script(script)
    assert len(ends) >= 8 and all(0 < end <= 390 for end in ends)


def test_a_page_says_which_run_to_take_before_it_draws_and_nothing_is_empty_on_the_right(browser, crowded):
    with screen(browser, 1920):
        opened(browser, crowded)
        places = browser.execute_script(
            "return ['.choice', 'figure:last-of-type'].map(each => document.querySelector(each)"
            ".getBoundingClientRect()).map(each => [each.top, each.right])"
        )
    assert places[0][0] < places[1][0] and places[1][1] > 1700


def test_a_page_is_readable_in_light_and_dark(browser, made_up):
    for scheme in ("light", "dark"):
        with screen(browser, 390, scheme):
            opened(browser, made_up)
            ink, paper = (
                browser.execute_script(f"return getComputedStyle(document.body).{name}")
                for name in ("color", "backgroundColor")
            )
        assert contrast(ink, paper) > 7, (scheme, ink, paper)


def contrast(*colours):
    """Contrast ratio of two colours as the Web Content Accessibility Guidelines define it."""
    light = sorted((luminance(colour) for colour in colours), reverse=True)
    return (light[0] + 0.05) / (light[1] + 0.05)


def luminance(colour):
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_nothing_is_cut_on_paper(browser, crowded):
    with screen(browser, 717):  # A4 with the margins of a browser
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        opened(browser, crowded)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 717
        assert browser.execute_script(CUT) == []


def test_what_is_printed_is_dark_on_white(browser, made_up):
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    try:
        opened(browser, made_up)
        style = "return getComputedStyle(document.body)"
        assert browser.execute_script(f"{style}.backgroundColor") == "rgb(255, 255, 255)"
        assert browser.execute_script(f"{style}.color") == "rgb(0, 0, 0)"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
