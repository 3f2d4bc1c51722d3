"""How long one waits: --help, a config error, the first training step, a short run; what loading data costs.

    python benchmarks/startup.py [--runs 5]

Each figure is of a fresh process: the median of the runs, with the least and the most beside it. The short
run is timed in turn with one in which Python collects garbage as it does by default, and not as we have it:
not while TensorFlow loads, and without what was loaded later on. Needs the data in PRUNEFLOW_DATA_DIR or in
the cache folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import commands

COMMANDS = {
    "--help": ["--help"],
    "--version": ["--version"],
    "config error": ["schedule.final_sparsity=high"],
    "config error that needs the data": ["schedule.frequency=100000"],
    "--cfg job": ["--cfg", "job"],
}

FIRST_STEP = """
import json, sys, time
marks = {}
last = time.perf_counter()
def mark(name):
    global last
    now = time.perf_counter()
    marks[name] = now - last
    last = now
import hydra
from pruneflow.command import cli; from pruneflow.flow import config, pipeline
from pruneflow.runtime import backend, surroundings
mark("import hydra, numpy and pruneflow")
with hydra.initialize_config_dir(str(config.config_folder()), version_base="1.3"):
    settings = config.from_hydra(hydra.compose("config", sys.argv[1:]))
mark("compose and check the config")
data = settings.dataset.load()
mark("load the data")
surroundings.own_process()
backend.tfmot()
mark("import tensorflow, tf_keras and tfmot")
settings.device.configure()
backend.set_seed(settings.seed)
model = settings.model.build(data.spec)
mark("build the network")
from pruneflow.training.callbacks import keras
class Stop(Exception):
    pass
def stop(batch, logs):
    mark("trace and run the first training step")
    raise Stop
from pruneflow.training import callbacks, fit
callbacks.TrainingProgress.on_train_batch_end = lambda self, batch, logs=None: stop(batch, logs)
import pathlib, tempfile
try:
    with tempfile.TemporaryDirectory() as folder:
        journal = fit.Journal(pathlib.Path(folder), pathlib.Path(folder) / "checkpoint", None)
        settings.trainer.dense_fit(0).run(model, data, journal)
except Stop:
    pass
print(json.dumps(marks))
"""

LOADING = """
import json, resource, sys, time
import hydra
from pruneflow.command import cli; from pruneflow.flow import config
with hydra.initialize_config_dir(str(config.config_folder()), version_base="1.3"):
    settings = config.from_hydra(hydra.compose("config", sys.argv[1:]))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = peak(), time.perf_counter()
settings.dataset.load()
print(json.dumps({"seconds": time.perf_counter() - start, "peak above import, MB": peak() - before}))
"""

SHORT = ["trainer.dense_epochs=1", "trainer.epochs=1", "dataset.limit=2000", "stages.reuse=false"]
AS_PYTHON_DOES = """
import gc, runpy
gc.disable = gc.freeze = lambda: None
runpy.run_module("pruneflow", run_name="__main__", alter_sys=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    for name, arguments in COMMANDS.items():
        show(name, [seconds_of(arguments) for _ in range(runs)], "s")
    compare_short_runs(runs)
    for label, overrides in (("cnn on mnist", []), ("lstm on imdb", ["model=lstm", "dataset=imdb"])):
        print(f"\nTo the first training step, {label}")
        report(FIRST_STEP, overrides, runs)
        print(f"Loading, {label}")
        report(LOADING, overrides, runs)


def seconds_of(arguments: list[str]) -> float:
    start = time.perf_counter()
    line = [sys.executable, "-m", "pruneflow", *arguments]
    subprocess.run(line, capture_output=True, check=False)
    return time.perf_counter() - start


def compare_short_runs(runs: int) -> None:
    ours, by_default = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs):
            ours.append(commands.run(Path(folder), SHORT))
            by_default.append(commands.run(Path(folder), SHORT, code=AS_PYTHON_DOES))
    show("short run", ours, "s")
    ratios = [mine / its for mine, its in zip(ours, by_default, strict=True)]
    show("  over garbage collected by default", ratios, "")


def report(code: str, overrides: list[str], runs: int) -> None:
    found = [figures(code, overrides) for _ in range(runs)]
    for key in found[0]:
        show(f"  {key}", [run[key] for run in found], "")
    if code == FIRST_STEP:
        show("  all together", [sum(run.values()) for run in found], "s")


def figures(code: str, overrides: list[str]) -> dict[str, float]:
    line = [sys.executable, "-c", code, *overrides]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def show(name: str, values: list[float], unit: str) -> None:
    median = statistics.median(values)
    print(f"{name:<42} {median:8.2f} {unit:<2} ({min(values):.2f} to {max(values):.2f}, n={len(values)})")


if __name__ == "__main__":
    main()
