"""Make the pictures of README and docs again: two reports, and two pages of TensorBoard.

    python benchmarks/pictures.py [--only report] [--folder docs] [--work FOLDER]

The main job and a sweep of six runs are run, their pages are opened in Chromium, and what a screen shows is
saved. Needs Chromium and its driver (Debian: chromium-driver), and MNIST in PRUNEFLOW_DATA_DIR or in the
cache folder.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from commands import run, show

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
SWEEP = ["-m", "export=float,dynamic-range", "schedule.final_sparsity=0.5,0.8,0.9"]
WIDTH, LONGEST_WAIT_S = 1200, 60
PAGES = {"report-run": 1375, "report-sweep": 1080}  # heights
BOARDS = {"tensorboard": ("custom_scalars", 860), "tensorboard-hparams": ("hparams", 640)}
PARALLEL = """const found = (root) => {
    for (const each of root.querySelectorAll('*')) {
        if (each.localName === 'paper-tab' && /parallel/i.test(each.textContent)) return each;
        const inner = each.shadowRoot || (each.localName === 'iframe' && each.contentDocument);
        const tab = inner && found(inner);
        if (tab) return tab;
    }
};
found(document).click();"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=["report", "tensorboard"], default="")
    parser.add_argument("--work", type=Path, help="keeps the runs here, and takes what its store has")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "docs")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = (chosen.work or Path(folder)).resolve()
        for name, words in {"run": ["hydra.run.dir=run"], "sweep": [*SWEEP, "hydra.sweep.dir=sweep"]}.items():
            if not (work / name / "report.html").exists():
                run(work, words)
        with browser(Path(folder) / "browser") as driver:
            if chosen.only != "tensorboard":
                reports(driver, work, chosen.folder)
            if chosen.only != "report":
                boards(driver, work, chosen.folder)


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """Open Chromium without a window, in light."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    features = [{"name": "prefers-color-scheme", "value": "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        yield driver
    finally:
        driver.quit()


def reports(driver: Any, work: Path, folder: Path) -> None:
    """Save the top of the page of the run and of the page of the sweep."""
    for name, height in PAGES.items():
        sized(driver, height)
        driver.get((work / name.removeprefix("report-") / "report.html").as_uri())
        save(driver, folder / f"{name}.png")


def boards(driver: Any, work: Path, folder: Path) -> None:
    """Save two pages of TensorBoard over the sweep."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "tensorboard.main", "--logdir", "sweep", "--port", str(port)]
    with (work / "tensorboard.log").open("w") as log:
        server = subprocess.Popen(line, cwd=work, stdout=log, stderr=log)
    try:
        for name, (tab, height) in BOARDS.items():
            sized(driver, height)
            opened(driver, f"http://localhost:{port}/#{tab}")
            driver.refresh()  # another tab of the same page is no new page
            time.sleep(10)  # it draws when its data have come
            if tab == "hparams":
                driver.execute_script(PARALLEL)
                time.sleep(10)
            save(driver, folder / f"{name}.png")
    finally:
        server.terminate()
        server.wait()


def opened(driver: Any, address: str) -> None:
    """Open a page as soon as its server answers."""
    from selenium.common.exceptions import WebDriverException

    end = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            driver.get(address)
            return
        except WebDriverException:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def sized(driver: Any, height: int) -> None:
    metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def save(driver: Any, file: Path) -> None:
    """Save what the screen shows, in 256 colours."""
    from PIL import Image

    content = base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", {})["data"])
    Image.open(io.BytesIO(content)).convert("RGB").quantize(256).save(file, optimize=True)
    show(str(file), f"{file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
