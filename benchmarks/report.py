"""What reports cost: the page of a sweep of 200 runs, how it opens, and what a page adds to the main job.

    python benchmarks/report.py [--runs 200] [--pairs 3] [--no-job]

One main job is run; its result is copied, with other sparsities, seeds and figures, into as many folders as
the sweep has runs, and ``python -m pruneflow.report`` is timed over them as a user starts it (target: 5 s).
Where Chromium and its driver are installed, the page is opened and sorted: the time until it is loaded, that
of a sort by each column, and the longest task that blocked the page. Then main jobs with and without
report=true are run turn and turn about, everything computed anew. Needs MNIST in PRUNEFLOW_DATA_DIR or in the
cache folder.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from commands import results, run, show

from pruneflow.flow.figures import Result
from pruneflow.flow.results import write

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.95, 0.97, 0.98)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--no-job", action="store_true", help="leave out what takes minutes")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder) / "one", [])
        (result,) = results(Path(folder) / "one")
        sweep = Path(folder) / "sweep"
        copies(sweep, result, chosen.runs)
        line = [sys.executable, "-m", "pruneflow.report", str(sweep)]
        seconds = [timed(line) for _ in range(5)]
        show(f"python -m pruneflow.report, {chosen.runs} runs: s", spread(seconds) + " (target: below 5)")
        page = sweep / "report.html"
        show("size of the page, kB", f"{page.stat().st_size / 1000:,.0f}")
        if shutil.which("chromium") and shutil.which("chromedriver"):
            open_page(page, Path(folder) / "browser")
        if not chosen.no_job:
            beside_the_job(Path(folder), chosen.pairs)


def copies(sweep: Path, result: Result, count: int) -> None:
    """As many runs as asked for: sparsities, exports, criteria and seeds in turn, figures drawn at random."""
    draw = random.Random(0)
    grid = itertools.product(range(count), ("magnitude", "random"), ("float", "int8"), SPARSITIES)
    for seed, criterion, kind, sparsity in itertools.islice(grid, count):
        config = copy.deepcopy(result.config)
        config["seed"], config["criterion"]["name"] = seed, criterion
        config["schedule"]["final_sparsity"] = sparsity
        accuracy = 0.98 - 0.1 * sparsity**6 - draw.random() / 200
        size = int((1.05 - sparsity) * (80_000 if kind == "float" else 20_000)) + draw.randrange(99)
        file = replace(
            result.tflite[0],
            kind=kind,
            accuracy=accuracy,
            metrics={"accuracy": accuracy},
            size=replace(result.tflite[0].size, gzip_bytes=size),
        )
        folder = sweep / f"criterion={criterion},export={kind},final_sparsity={sparsity},seed={seed}"
        folder.mkdir(parents=True)
        write(replace(result, seed=seed, config=config, tflite=[file], classes=[]), folder)


def timed(line: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def spread(values: list[float], form: str = "{:.2f}") -> str:
    shown = [form.format(value) for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]}, n={len(values)})"


def open_page(page: Path, profile: Path) -> None:
    """Open the page in Chromium, and sort it by each column."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        loads = []
        for _ in range(5):
            driver.get(page.resolve().as_uri())
            timing = (
                "const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd - t.startTime"
            )
            loads.append(driver.execute_script(timing))
        show("Chromium: until loaded, ms", spread(loads, "{:.0f}"))
        sorts = driver.execute_async_script(SORT)
        show("Chromium: a sort by one column and the frame after it, ms", spread(sorts, "{:.0f}"))
        longest = driver.execute_async_script(LONGEST)
        show("Chromium: longest task that blocked the page, ms (50 is felt)", f"{longest:.0f}")
    finally:
        driver.quit()


SORT = """
const done = arguments[0], times = [];
const buttons = [...document.querySelectorAll("table.sortable:last-of-type th button")];
const next = () => {
  const button = buttons.shift();
  if (!button) return done(times);
  const start = performance.now();
  button.click();
  requestAnimationFrame(() => setTimeout(() => { times.push(performance.now() - start); next(); }));
};
next();
"""
LONGEST = """
const done = arguments[0];
let longest = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) longest = Math.max(longest, entry.duration);
}).observe({type: "longtask", buffered: true});
setTimeout(() => done(longest), 200);
"""


def beside_the_job(folder: Path, pairs: int) -> None:
    """The main job with and without a report, each computed anew, in turn."""
    ratios, added = [], []
    for turn in range(pairs):
        seconds = {}
        for setting in ("true", "false") if turn % 2 else ("false", "true"):
            place = folder / f"job-{setting}-{turn}"
            seconds[setting] = run(place, [f"report={setting}"])
        ratios.append(seconds["true"] / seconds["false"])
        added.append(seconds["true"] - seconds["false"])
    show("main job with a report / without, wall time", spread(ratios, "{:.3f}"))
    show("what the report adds, s", spread(added))


if __name__ == "__main__":
    main()
