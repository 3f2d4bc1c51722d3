"""The cost of replicas on one machine: time per step on one device, on two logical CPUs, in two workers.

    python benchmarks/replicas.py [--networks mnist_cnn imdb_lstm] [--rounds 3] [--limit 6000] [--epochs 4]

Each layout prunes the same network on the same batches, by the command line, in its own processes, in turn.
Two logical CPUs, and two workers on the loopback address, share the cores of the machine: so this is what
dividing a step costs, and no gain. A step is the median over the epochs but the first, which traces graphs.
Needs the data in PRUNEFLOW_DATA_DIR or in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from commands import results, show

from pruneflow.report.curves import read_curves

LAYOUTS = {
    "none": [],
    "mirrored": ["device.strategy=mirrored", "device.replicas=2"],
    "multi_worker": ["device.strategy=multi_worker"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["mnist_cnn", "imdb_lstm"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=4)
    chosen = parser.parse_args()
    for network in chosen.networks:
        line = [f"experiment={network}", f"dataset.limit={chosen.limit}", f"trainer.epochs={chosen.epochs}"]
        line += ["trainer.dense_epochs=0", "latency.seconds=0", "report=false"]
        line += ["schedule.begin_step=null", "schedule.end_step=null", "schedule.frequency=auto"]
        found: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
        for seed in range(chosen.rounds):
            for layout in LAYOUTS:
                found[layout].append(step_ms([*line, f"seed={seed}"], layout))
        tell(network, found)


def step_ms(line: list[str], layout: str) -> float:
    """Milliseconds per step of a run."""
    with tempfile.TemporaryDirectory() as folder:
        workers = 2 if layout == "multi_worker" else 1
        ports = free_ports(workers)
        processes = [
            started(Path(folder), [*line, *LAYOUTS[layout]], ports, index) for index in range(workers)
        ]
        codes = [each.wait() for each in processes]
        if any(codes):
            raise SystemExit(f"{layout} failed: {(Path(folder) / 'log').read_text()[-2000:]}")
        (result,) = results(Path(folder))
        curves = read_curves(next(each for each in Path(folder).rglob("pruned") if each.parent.name != "v1"))
        rates = curves["examples_per_second"].values[1:]
        assert result.plan.batch_size, "runs of today have it"
        return 1000 * result.plan.batch_size / statistics.median(rates)


def started(folder: Path, line: list[str], ports: list[int], index: int) -> subprocess.Popen[bytes]:
    """Start one worker; the first is the chief."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    place = folder / str(index)
    place.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "pruneflow", *line],
        cwd=place,
        env={**os.environ, "TF_CONFIG": json.dumps(task)},
        stdout=(folder / "log").open("ab"),
        stderr=subprocess.STDOUT,
    )


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in listeners]
    for each in listeners:
        each.close()
    return ports


def tell(network: str, found: dict[str, list[float]]) -> None:
    for layout, rounds in found.items():
        ratios = sorted(one / other for one, other in zip(rounds, found["none"], strict=True))
        times = f"{statistics.median(rounds):.1f} ms per step"
        show(
            f"{network}, {layout}",
            f"{times}, {statistics.median(ratios):.2f} x none ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        )


if __name__ == "__main__":
    main()
