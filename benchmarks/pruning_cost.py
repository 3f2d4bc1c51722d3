"""What pruning adds to a training step, and to memory: dense, pruneflow and stock tfmot in turn, in one run.

    python benchmarks/pruning_cost.py [--networks mnist_cnn imdb_lstm] [--frequencies 100 10] [--rounds 5]
        [--processes 3] [--batch-size 128] [--columns dense pruneflow tfmot example]
        [overrides of the pruneflow column]

The networks of tfmot's two examples, and all that a run of pruneflow does beside training (masks, sparsity in
TensorBoard). In each round every column trains as many steps as there are between two mask updates, so that
each has its share of them. A ratio is the median over the rounds of time per step over that of another column
in the same round. Rounds are spread over several processes, since each has its own luck with memory: the same
two columns differ by up to 5 % from one process to the next. ``dense`` and ``tfmot`` have pruneflow's
optimizer and graphs too; ``example`` fits as tfmot's scripts do: Keras' own, arrays in, a progress bar, its
two callbacks. Memory is the peak while a process of its own builds the network and trains it, without
oneDNN: with it TensorFlow takes memory from a pool whose blocks are up to twice as large as what is asked
for, by chance, and which threads take up slowly; ``--pool`` measures that. Needs the data in
PRUNEFLOW_DATA_DIR or in the cache folder.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from commands import compile_as_the_example, show

from pruneflow.datasets import batches
from pruneflow.flow import config
from pruneflow.flow.prepare import prepare
from pruneflow.runtime import backend, memory
from pruneflow.sparsity import tfmot_engine
from pruneflow.sparsity.masked import mask_in_place
from pruneflow.training.callbacks import TfmotSummaries, Throughput, pruning_callbacks
from pruneflow.training.logs import ScalarLog, SparsityLog
from pruneflow.training.metrics import headline_of

COLUMNS = ("dense", "pruneflow", "tfmot", "example")
ENGINES = {"pruneflow": mask_in_place, "tfmot": tfmot_engine.wrap, "example": tfmot_engine.wrap}
STEPS = 1_000_000  # of the plan: further than any benchmark goes
MEMORY_STEPS = 100
POOL_STEPS = 1000  # until threads of TensorFlow have taken what they will take of the pool
# Freed memory is given back at once, and not kept by each thread for itself, so that the peak is of what was
# held, not of what might be used again.
GIVEN_BACK = {
    **os.environ,
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["mnist_cnn", "imdb_lstm"])
    parser.add_argument("--frequencies", nargs="*", type=int, default=[100, 10])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=COLUMNS[:3])
    parser.add_argument("--memory", type=int, default=5, help="processes per column; 0 leaves memory out")
    parser.add_argument("--pool", action="store_true", help="measure memory with oneDNN's pool")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--times", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    chosen, overrides = parser.parse_known_args()
    overrides = [f"trainer.batch_size={chosen.batch_size}", *overrides]
    if chosen.memory_of:
        steps = POOL_STEPS if chosen.pool else MEMORY_STEPS
        print(json.dumps(peak(Trained(chosen.networks[0], chosen.memory_of, 10, overrides), steps)))
        return
    if chosen.times:
        network, (frequency, *_) = chosen.networks[0], chosen.frequencies
        trained = {column: Trained(network, column, frequency, overrides) for column in chosen.columns}
        print(json.dumps(timed(trained, steps=max(frequency, 20), rounds=chosen.rounds)))
        return
    for network in chosen.networks:
        for frequency in chosen.frequencies:
            show(f"{network}, batch {chosen.batch_size}, frequency {frequency}", "")
            line = [*sys.argv[1:], "--networks", network, "--frequencies", str(frequency), "--times"]
            compare([in_a_process(line) for _ in range(chosen.processes)])
        if chosen.memory:
            compare_memory(network, chosen.memory, pool=chosen.pool)


def in_a_process(arguments: list[str], env: dict[str, str] | None = None) -> Any:
    """What this script prints as JSON with other arguments."""
    line = [sys.executable, __file__, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def timed(trained: dict[str, Trained], *, steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds per step of each column, a number for each round."""
    times: dict[str, list[float]] = {column: [] for column in trained}
    for training in trained.values():
        training.seconds_per_step(steps)  # tracing, and the first update
    for _ in range(rounds):
        for column, training in trained.items():
            times[column].append(training.seconds_per_step(steps))
    return times


def compare(processes: list[dict[str, list[float]]]) -> None:
    times = {column: [s for found in processes for s in found[column]] for column in processes[0]}
    for column, seconds in times.items():
        show(f"  {column}, ms per step", f"{1000 * statistics.median(seconds):.1f}")
    pairs = [(column, "dense") for column in times if column != "dense" and "dense" in times]
    for column, other in [*pairs, *([("pruneflow", "example")] if "example" in times else [])]:
        ratios = [of(found[column], found[other]) for found in processes]
        pooled = sorted(ratio for each in ratios for ratio in each)
        medians = " ".join(f"{statistics.median(each):.3f}" for each in ratios)
        spread = (
            f"{statistics.median(pooled):.3f} ({pooled[0]:.3f} to {pooled[-1]:.3f}; by process {medians})"
        )
        show(f"  {column} / {other}", spread)


def of(mine: list[float], its: list[float]) -> list[float]:
    """Ratios, round by round."""
    return [one / other for one, other in zip(mine, its, strict=True)]


def compare_memory(network: str, processes: int, *, pool: bool) -> None:
    flags, env = (["--pool"], {"TF_ENABLE_ONEDNN_OPTS": "1"}) if pool else ([], {})
    peaks: dict[str, list[int]] = {column: [] for column in COLUMNS[:3]}
    found: dict[str, int] = {}
    for _ in range(processes):
        for column, of_column in peaks.items():
            line = ["--networks", network, "--memory-of", column, *flags]
            found = in_a_process(line, env=GIVEN_BACK | env)
            of_column.append(found["peak_bytes"])
    show(f"{network}: masks of pruneflow, MB", f"{found['mask_bytes'] / 1e6:.1f}")
    dense = statistics.median(peaks["dense"])
    for column, of_column in peaks.items():
        median, spread = statistics.median(of_column), (max(of_column) - min(of_column)) / 1e6
        more = f"dense {(median - dense) / 1e6:+.0f}, spread {spread:.0f}"
        show(f"  {column}: peak memory, MB", f"{median / 1e6:.0f} ({more})")


class Trained:
    """One network under training; takes up where it was left."""

    def __init__(self, network: str, column: str, frequency: int, overrides: list[str]) -> None:
        with hydra.initialize_config_dir(str(config.config_folder()), version_base="1.3"):
            own = overrides if column == "pruneflow" else overrides[:1]
            plan = ["schedule=constant", "schedule.begin_step=1", "schedule.end_step=null"]
            line = [f"experiment={network}", *plan, "schedule.frequency=1", *own]
            settings = config.from_hydra(hydra.compose("config", line))
        self.column, self.ready, self.fit = column, prepare(settings), settings.trainer.pruned_fit(0)
        schedule = replace(settings.schedule, frequency=frequency, end_fraction=1.0)
        self.masks = replace(self.ready.masks, plan=schedule.plan(STEPS))
        memory.reset_peak()
        backend.set_seed(0)
        self.model = settings.model.build(self.ready.data.spec)
        if column in ENGINES:
            self.masked = ENGINES[column](self.model, self.masks)
            self.model = self.masked.model
        gc.collect()  # as `Fit.run` does
        if column == "example":
            compile_as_the_example(self.model)
        else:
            self.fit._compile(self.model, self.ready.data.spec, total_steps=STEPS)
        self.callbacks, self.clock = self._callbacks(tempfile.mkdtemp()), _clock()

    def _callbacks(self, folder: str) -> list[Any]:
        tfmot, throughput = backend.tfmot().sparsity.keras, Throughput(len(self.ready.data.train))
        if self.column == "example":
            return [tfmot.UpdatePruningStep(), tfmot.PruningSummaries(folder)]
        headline = headline_of(self.ready.data.spec)
        if self.column == "dense":
            return [throughput, ScalarLog(Path(folder), throughput, headline=headline)]
        log = SparsityLog(Path(folder), throughput, self.masked, headline=headline)
        summaries = [TfmotSummaries(Path(folder))] if self.column == "tfmot" else []
        return [*pruning_callbacks(self.masked), *summaries, throughput, log]

    def seconds_per_step(self, steps: int) -> float:
        """Train one step that is not counted, since it opens the data, and ``steps`` that are."""
        fit = self._fit_arrays if self.column == "example" else self._fit_batches
        fit(steps + 1)
        return float(self.clock.ends[-1] - self.clock.ends[0]) / steps

    def _fit_arrays(self, steps: int) -> None:
        part, spec, size = self.ready.data.train, self.ready.data.spec, self.fit.batch_size
        indices = np.arange(steps * size) % len(part)
        x, y = spec.model_input(part.x[indices]), part.y[indices]
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            self.model.fit(x, y, batch_size=size, verbose=1, callbacks=[*self.callbacks, self.clock])

    def _fit_batches(self, steps: int) -> None:
        data = self.ready.data
        order = batches.Order(range(1), self.fit.batch_size, self.fit.seed)
        examples = batches.training_batches(data.train, data.spec, order).repeat().take(steps)
        callbacks = [*map(self._opened, self.callbacks), self.clock]
        self.model.fit(examples, steps_per_epoch=steps, verbose=0, callbacks=callbacks)

    def _opened(self, callback: Any) -> Any:
        """A callback whose file is open: that of the summaries is closed at the end of a fit."""
        closed = isinstance(callback, TfmotSummaries)
        return TfmotSummaries(Path(tempfile.mkdtemp())) if closed else callback


def _clock() -> Any:
    class Clock(backend.keras().callbacks.Callback):  # type: ignore[misc]
        """When each step ended."""

        _supports_tf_logs = True

        def on_train_begin(self, logs: Any = None) -> None:
            self.ends: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ends.append(time.perf_counter())

    return Clock()


def peak(training: Trained, steps: int) -> dict[str, int]:
    training.seconds_per_step(steps)
    masks = sum(prunable.size for prunable in training.masks.prunables)  # a byte for each element
    return {"peak_bytes": memory.peak_bytes(), "mask_bytes": masks}


if __name__ == "__main__":
    main()
