"""Damage real TFLite files at random, and have each evaluated: it ends with numbers or with one message.

    python benchmarks/damaged_files.py [--count 1000] [--seed 0] [--latency-every 20] [--keep FOLDER]

The files come from tiny runs of pruneflow: float, int8, sparse-encoded, and an LSTM. ``--count`` files are
damaged as objects of TFLite's schema (operator codes, indices, shapes, types, scales, buffers, sparsity,
options), and as many as bytes (bits, words, blocks, insertions, cuts). Each goes through what ``python -m
pruneflow.evaluate`` calls, in processes that are watched from outside. One in ``--latency-every`` is timed
beside its original too.

Prints how many ended with numbers, refused (one message), with a traceback, with a crash of the process that
evaluates, and later than anything may take. Exits with 1 where any ended in one of the last three ways; such
files are copied to ``--keep``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from commands import run, show

from pruneflow import evaluate, latency
from pruneflow.errors import PruneflowError
from pruneflow.exports import runner
from pruneflow.exports.latency import Latency, measure
from pruneflow.runtime import child

NUMBERS, REFUSED, TRACEBACK, CRASH, TIMEOUT = "numbers", "refused", "traceback", "crash", "timeout"
ODD = (-(2**31), -1000, -2, -1, 0, 1, 2, 3, 4, 7, 16, 127, 128, 255, 1000, 65_536, 10**9, 2**31 - 1)

QUICK = ["trainer.dense_epochs=1", "trainer.epochs=1", "latency.seconds=0", "report=false"]
LSTM = ["model=lstm", "dataset=imdb", "model.units=8", "model.embedding_dim=8"]
TOKENS = ["dataset=imdb", "dataset.length=12", "dataset.vocabulary_size=70"]
ORIGINALS = {
    "float": ["export=float", "model.filters=[4]"],
    "int8": ["export=int8", "model.filters=[4]"],
    "sparse": ["structure=block_4x1", "export=float", "export.encoding=sparse", "model.filters=[4]"],
    "lstm": ["export=float", *LSTM, *TOKENS],
}


def damaged(content: bytes, damage: str, rng: np.random.Generator) -> bytes:
    """Damage a file in one of `DAMAGES`, until it is another one."""
    while (found := DAMAGES[damage](content, rng)) == content:
        pass
    return found


def damaged_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a few bits, words or blocks, or cut."""
    found = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        reach = len(found) if rng.random() < 0.5 else min(len(found), 4096)  # tables lie at both ends
        place = int(rng.integers(8, reach))
        place = place if rng.random() < 0.5 else max(8, len(found) - place)
        size = int(rng.integers(1, 65))
        match rng.integers(6):
            case 0:
                found[place] ^= 1 << rng.integers(8)
            case 1:
                found[place : place + 4] = int(rng.choice(ODD)).to_bytes(4, "little", signed=True)
            case 2:
                found[place : place + size] = bytes(len(found[place : place + size]))
            case 3:
                found[place:place] = rng.bytes(size)
            case 4:
                del found[place : place + size]
            case 5 if rng.random() < 0.3:
                del found[place:]
        if len(found) <= 12:
            break
    return bytes(found)


def damaged_schema(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one to three fields of the objects of a file, each kind of object as often as any other."""
    while True:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        for _ in range(rng.integers(1, 4)):
            kinds: dict[str, list[Any]] = {}
            for each in _objects(model):
                kinds.setdefault(type(each).__name__, []).append(each)
            among = kinds[sorted(kinds)[rng.integers(len(kinds))]]
            chosen = among[rng.integers(len(among))]
            field = sorted(vars(chosen))[rng.integers(len(vars(chosen)))]
            setattr(chosen, field, _changed(getattr(chosen, field), rng))
        builder = flatbuffers.Builder(len(content))
        try:
            builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        except Exception:  # a value that no file can hold
            continue
        return bytes(builder.Output())


def _objects(table: Any) -> Iterator[Any]:
    yield table
    for value in vars(table).values():
        for each in value if isinstance(value, list) else [value]:
            if hasattr(each, "__dict__"):
                yield from _objects(each)


def _changed(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, (bool, int)) or value is None:
        return int(rng.choice(ODD)) if rng.random() < 0.5 else int(value or 0) + int(rng.integers(-2, 3))
    if isinstance(value, float):
        return float(rng.choice([0.0, -1.0, 1e-30, 1e30, np.inf, np.nan]))
    if not isinstance(value, (list, np.ndarray)) or len(value) == 0:
        return None
    parts, place = list(value), int(rng.integers(len(value)))
    match rng.integers(5):
        case 0:
            del parts[place]
        case 1:
            parts.insert(place, parts[rng.integers(len(parts))])
        case 2:
            parts = parts[:place]
        case 3:
            parts[place] = parts[rng.integers(len(parts))]
        case 4 if isinstance(value, np.ndarray):
            ends = np.iinfo(value.dtype) if value.dtype.kind in "iu" else np.finfo(value.dtype)
            parts[place] = rng.choice([*np.clip(ODD, ends.min, ends.max), ends.min, ends.max])
        case 4 if not hasattr(parts[place], "__dict__"):
            parts[place] = _changed(parts[place], rng)
    return np.array(parts, value.dtype) if isinstance(value, np.ndarray) else parts


DAMAGES = {"schema": damaged_schema, "bytes": damaged_bytes}


def ending(file: Path, settings: Any, *, beside: Path | None = None) -> tuple[str, str]:
    """How the evaluation of a file ends: a kind, and what was said.

    Args:
        file: The damaged file.
        settings: As `pruneflow.evaluate.evaluated` takes them.
        beside: The original, where both are to be timed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if beside:
                timings = measure([beside, file], Latency(seconds=0.02, warmup=1, threads=1))
                json.dumps(latency.compared([beside, file], timings), allow_nan=False)
            rows = evaluate.evaluated([file], settings)
            json.dumps(rows, allow_nan=False)
    except PruneflowError as error:
        whole = str(error).strip()
        return (REFUSED if whole and "\n" not in whole else TRACEBACK), whole
    except Exception:  # of any kind: this is what is looked for
        return TRACEBACK, traceback.format_exc()
    return NUMBERS, f"{rows[0]['metrics']}"


def _evaluated(work: Sequence[tuple[Path, Path | None]], overrides: Sequence[str]) -> Iterator[Any]:
    """What a watched process does: one ending for each file."""
    settings = evaluate._settings(["latency.seconds=0", "device.evaluation_threads=2", *overrides])
    for file, beside in work:
        yield ending(file, settings, beside=beside)


def endings(
    work: list[tuple[Path, Path | None]], overrides: Sequence[str]
) -> Iterator[tuple[Path, str, str]]:
    """Have files evaluated in a process; where it dies, go on with the next file in another."""
    while work:
        outcome = child.values_of(_evaluated, work, overrides, silent_s=5 * runner.SILENT_S)
        for (file, _), (kind, said) in zip(work, outcome.values, strict=False):
            yield file, kind, said
        work = work[len(outcome.values) :]
        if work:
            yield work[0][0], TIMEOUT if outcome.silent_s else CRASH, outcome.problem
            work = work[1:]


def originals(folder: Path) -> dict[str, Path]:
    """Files of tiny runs on made data."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = rng.integers(0, 256, (200, 28, 28), dtype=np.uint8)
    arrays: dict[str, Any] = {
        "x_train": images,
        "y_train": labels,
        "x_test": images[:30],
        "y_test": labels[:30],
    }
    np.savez(folder / "mnist.npz", **arrays)
    offsets = 20 * np.arange(201)
    half = (rng.integers(1, 60, 4000).astype(np.int32), offsets, (labels % 2).astype(np.uint8))
    names = itertools.product(("train", "test"), ("x_{}_tokens", "x_{}_offsets", "y_{}"))
    arrays = {name.format(part): values for (part, name), values in zip(names, 2 * half, strict=True)}
    np.savez(folder / "imdb.npz", **arrays)
    os.environ["PRUNEFLOW_DATA_DIR"] = str(folder)
    for name, overrides in ORIGINALS.items():
        run(folder / name, [*QUICK, *overrides, "hydra.run.dir=run", "trainer.batch_size=60"])
    return {name: next((folder / name / "run").glob("pruned-*.tflite")) for name in ORIGINALS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency-every", type=int, default=20)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = originals(Path(folder))
        bad = sum(_tried(made, damage, Path(folder), chosen) for damage in DAMAGES)
    sys.exit(1 if bad else 0)


def _tried(made: dict[str, Path], damage: str, folder: Path, chosen: argparse.Namespace) -> int:
    """Try one way to damage files, print how they ended, and count those that ended badly."""
    work: dict[str, list[tuple[Path, Path | None]]] = {name: [] for name in made}
    for index in range(chosen.count):
        name = list(made)[index % len(made)]
        file = folder / f"{damage}-{index}-{name}.tflite"
        rng = np.random.default_rng([chosen.seed, list(DAMAGES).index(damage), index])
        file.write_bytes(damaged(made[name].read_bytes(), damage, rng))
        timed = chosen.latency_every and index // len(made) % chosen.latency_every == 0
        work[name].append((file, made[name] if timed else None))
    counts: Counter[tuple[str, str]] = Counter()
    with ThreadPoolExecutor(2) as executor:
        ways = executor.map(lambda name: list(endings(work[name], TOKENS if name == "lstm" else [])), made)
        for name, found in zip(made, ways, strict=True):
            for file, kind, said in found:
                counts[name, kind] += 1
                if kind not in (NUMBERS, REFUSED):
                    print(f"{file.name}: {kind}: {said}", flush=True)
                    if chosen.keep:
                        chosen.keep.mkdir(exist_ok=True)
                        shutil.copy(file, chosen.keep)
    for name in made:
        kinds = (NUMBERS, REFUSED, TRACEBACK, CRASH, TIMEOUT)
        show(f"{damage}, {name}", ", ".join(f"{kind} {counts[name, kind]}" for kind in kinds))
    return sum(count for (_, kind), count in counts.items() if kind not in (NUMBERS, REFUSED))


if __name__ == "__main__":
    import damaged_files  # other processes find its functions by this name

    damaged_files.main()
