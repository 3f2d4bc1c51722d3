"""One command against a search and a grid: bytes of the best file, trainings, minutes.

    python benchmarks/goal.py [--networks mnist imdb] [--max-drop 0.005] [--seeds 0] [--set KEY=VALUE ...]

Each way starts with an empty store, so that its minutes are whole. ``steps`` are the minutes after which the
best file so far had so many bytes. All files are judged alike: the drop
against the dense network on the validation part must hold at the upper end of its interval. ``--set`` adds
settings to every run, such as dataset.limit=6000. The search needs the extra ``optuna``, int4 files the
extra ``int4``.

A reduced ResNet-8, about 20 minutes for all ways on two cores, with 2,000 validation images:

    python benchmarks/goal.py --networks resnet8 --max-drop 0.02 --set dataset.path=cifar10/ \\
        dataset.limit=10000 dataset.validation_fraction=0.2 trainer.dense_epochs=6 trainer.epochs=2
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pruneflow.flow import results
from pruneflow.flow.figures import Result, TfliteResult
from pruneflow.runtime.records import read_json

NETWORKS = {
    "mnist": [],
    "imdb": ["model=lstm", "dataset=imdb"],
    "resnet8": ["experiment=cifar10_resnet8"],
}
KINDS = "export=dynamic-range,int8,int4"
GOAL = ["goal=smallest", "goal.max_accuracy_drop={drop}", "goal.kinds=[dynamic-range,int8,int4]"]
WAYS = {
    "goal": [*GOAL],
    "goal of 2": [*GOAL, "goal.max_trainings=2"],
    "search of 12": [
        "-m",
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=12",
        "objective=[validation_accuracy,gzip_bytes]",
        "schedule.final_sparsity=interval(0.5,0.98)",
        KINDS,
    ],
    "grid of 27": ["-m", "schedule.final_sparsity=0.5,0.6,0.7,0.8,0.85,0.9,0.93,0.95,0.97", KINDS],
}
CONFIDENCE = 0.9


def measured(words: list[str], drop: float) -> dict[str, Any]:
    """Run a command in a folder of its own, and return the figures of its best file."""
    with tempfile.TemporaryDirectory() as place:
        start, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "pruneflow", *words, "report=false", "latency.seconds=0"]
        subprocess.run(command, cwd=place, check=False, stdout=subprocess.DEVNULL)  # cells may fail
        minutes, after = (time.time() - start) / 60, resource.getrusage(resource.RUSAGE_CHILDREN)
        files = sorted(Path(place).rglob("result.json"), key=lambda file: file.stat().st_mtime)
        ended = [(file.stat().st_mtime - start) / 60 for file in files]
        found = [results.read(file.parent) for file in files]
        answers = [read_json(file) for file in Path(place).rglob("goal.json")]
    used = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
    trained = sum(not each.stages["pruned"].reused for each in found)
    best = min(kept(found, drop), key=lambda each: each["bytes"], default={})
    tested = {"test drop": answers[0]["test"]["drop"]["drop"]} if answers and best else {}
    counted = {"networks": len(found), "trained": trained, "steps": _steps(found, ended, drop)}
    return {"minutes": minutes, "processor minutes": used, **counted, **best, **tested}


def _steps(found: list[Result], ended: list[float], drop: float) -> str:
    """Spell after how many minutes the best file so far had how many bytes."""
    said, least = [], math.inf
    for result, minutes in zip(found, ended, strict=True):
        size = min((each["bytes"] for each in kept([result], drop)), default=math.inf)
        if size < least:
            said.append(f"{size:,} B after {minutes:.2f}")
            least = size
    return ", ".join(said)


def kept(found: list[Result], drop: float) -> Iterator[dict[str, Any]]:
    """Yield the figures of each file whose drop holds."""
    for result in found:
        for file in result.tflite:
            if file.against_dense and file.against_dense.at_most(CONFIDENCE) <= drop:
                yield {"bytes": file.size.gzip_bytes, "kind": file.kind, **_tested(result, file)}


def _tested(result: Result, file: TfliteResult) -> dict[str, float]:
    """Return what a file loses on the test part; in a search for one file only the winner is tested."""
    dense, reached = result.dense.accuracy, file.accuracy
    return {} if dense is None or reached is None else {"test drop": dense - reached}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["mnist"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--max-drop", type=float, default=0.005)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="+", default=[])
    chosen = parser.parse_args()
    for name in chosen.networks:
        for seed in chosen.seeds:
            for way in chosen.ways:
                words = [*NETWORKS[name], *WAYS[way], f"seed={seed}", *chosen.set]
                figures = measured([word.format(drop=chosen.max_drop) for word in words], chosen.max_drop)
                said = "  ".join(f"{key} {value}" for key, value in figures.items())
                print(f"{name} seed {seed} {way}: {said}", flush=True)


if __name__ == "__main__":
    main()
