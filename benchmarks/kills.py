"""Kill real runs at random moments with SIGKILL, type the same command again, and compare every bit.

    python benchmarks/kills.py [--kills 20] [--seed 0] [--least 4] [--most 12] [overrides]

One run is never interrupted. Others are killed between ``--least`` and ``--most`` seconds after they begin,
and begun again until they end; then the next one is, until there were ``--kills`` kills. Weights, masks,
TFLite files, results and curves are compared. Needs the data in PRUNEFLOW_DATA_DIR or in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from commands import run, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least", type=float, default=4.0)
    parser.add_argument("--most", type=float, default=12.0)
    chosen, overrides = parser.parse_known_args()
    overrides = ["stages.checkpoint_seconds=1", *overrides]
    moments = random.Random(chosen.seed)
    kills, different = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        show("never interrupted, s", f"{run(whole, overrides):.1f}")
        expected = everything(whole)
        round_ = 0
        while kills < chosen.kills:
            place = Path(folder) / f"killed-{round_}"
            done, ended = 0, False
            while kills + done < chosen.kills and not ended:
                ended = not killed(place, overrides, moments.uniform(chosen.least, chosen.most))
                done += not ended
            if not ended:
                run(place, overrides)
            found = everything(place)
            names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
            show(f"run {round_}, killed {done} times", f"different: {', '.join(names) or 'nothing'}")
            kills, different, round_ = kills + done, different + len(names), round_ + 1
    show("kills", str(kills))
    show("files, results and curves that differ", str(different))
    sys.exit(1 if different else 0)


def killed(folder: Path, overrides: list[str], seconds: float) -> bool:
    """Run the command, and kill it after ``seconds``; False if it ended before."""
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("a") as log:
        line = [sys.executable, "-m", "pruneflow", *overrides]
        process = subprocess.Popen(line, cwd=folder, stdout=log, stderr=log)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return not finished(folder)
    if process.returncode:
        raise SystemExit(f"{' '.join(line)} ended with {process.returncode}; see {folder / 'log'}")
    return False


def finished(folder: Path) -> bool:
    """Whether the kill came when all was done but the end of the process."""
    records = list(folder.glob("outputs/.stages/*/runs/*.json"))
    return bool(list(folder.glob("outputs/*/*/result.json"))) and not records


def everything(folder: Path) -> dict[str, Any]:
    """What must be the same: bytes of networks, masks and TFLite files, figures, curves, one run folder."""
    (result,) = folder.glob("outputs/*/*/result.json")
    written = json.loads(result.read_text())
    found: dict[str, Any] = {name: written[name] for name in ("dense", "pruned", "plan", "ratios")}
    # What a run found finished after a kill, and what it timed, is not among what must be the same.
    found["tflite"] = [
        {key: value for key, value in file.items() if key not in ("stages", "latency")}
        for file in written["tflite"]
    ]
    found["run folders"] = len(list(folder.glob("outputs/*/*/")))
    for file in (*result.parent.glob("*.h5"), *result.parent.glob("*.tflite")):
        found[file.name] = file.read_bytes()
    found["masks"] = masks(folder / written["stages"]["pruned"]["path"] / "masks.npz")
    for events in sorted({file.parent for file in result.parent.rglob("events.*")}):
        found[f"curves {events.relative_to(result.parent)}"] = curves(events)
    return found


def masks(file: Path) -> dict[str, bytes]:
    import numpy as np

    with np.load(file) as arrays:
        return {name: arrays[name].tobytes() for name in arrays}


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar with its steps, as TensorBoard reads them, but the times."""
    from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), size_guidance={TENSORS: 0})
    events.Reload()
    return {
        tag: [(event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars" and tag not in TIMES
    }


# What no two runs have in common.
TIMES = ("examples_per_second", "final/latency_ms", "final/speedup")


if __name__ == "__main__":
    main()
