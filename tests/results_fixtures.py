"""Results as ``result.json`` holds them, made up: what reports are tried on without a run."""

import copy
import json

from pruneflow.flow.figures import FORMAT, Result
from pruneflow.runtime.records import fitted

CONFIG = {
    "model": {"name": "cnn", "filters": [12]},
    "dataset": {"name": "mnist", "path": None},
    "schedule": {"name": "polynomial", "final_sparsity": 0.8, "power": 3.0},
    "structure": {"name": "unstructured"},
    "criterion": {"name": "magnitude"},
    "distribution": {"name": "uniform", "layers": {}},
    "export": {"name": "float", "encoding": "dense"},
    "trainer": {"epochs": 2, "batch_size": 128},
    "latency": {"seconds": 1.0},
    "stages": {"dir": "outputs/.stages"},
    "seed": 0,
}
STAGE = {"digest": "ab" * 32, "path": "outputs/.stages", "reused": False}
SIZES = {"bytes": 80_000, "gzip_bytes": 20_000, "zip_bytes": 21_000, "zstd_bytes": 19_000}
DENSE_SIZES = {"bytes": 80_000, "gzip_bytes": 76_000, "zip_bytes": 77_000, "zstd_bytes": 75_000}


TRIED = {
    "bytes": 50_000,
    "gzip_bytes": 21_000,
    "kept": False,
    "max_difference": None,
    "reason": "it is larger.",
}


def timing(file, median):
    return {
        "file": file,
        "median_ms": median,
        "p10_ms": median * 0.9,
        "p90_ms": median * 1.2,
        "n": 1000,
        "rounds": 2,
        "threads": 1,
        "warmup": 10,
        "peak_memory_bytes": None,
        "round_medians_ms": [median, median],
    }


def latency(ratio=1.5):
    return {
        "dense": timing("dense-float.tflite", 0.006 * ratio),
        "pruned": timing("pruned-float.tflite", 0.006),
        "speedup": {"ratio": ratio, "low": ratio - 0.1, "high": ratio + 0.1, "rounds": 12, "spread": 1.1},
        "verdict": "1.50x faster (1.40 to 1.60): FULLY_CONNECTED runs on a sparse kernel.",
    }


def exported(kind="float", *, accuracy=0.97, gzip_bytes=20_000, timed=True):
    return {
        "kind": kind,
        "file": f"pruned-{kind}.tflite",
        "sent": f"pruned-{kind}.tflite.gz",
        "encoding": "dense",
        "accuracy": accuracy,
        "validation_accuracy": accuracy - 0.01,
        "metrics": {"accuracy": accuracy},
        "validation_metrics": {"accuracy": accuracy - 0.01},
        "validation_drop": 0.01,
        "agreement": 0.999,
        "disagreements": 10,
        "max_difference": 0.01,
        "size": {**SIZES, "gzip_bytes": gzip_bytes},
        "dense_file": f"dense-{kind}.tflite",
        "dense_size": DENSE_SIZES,
        "size_ratios": {"gzip": DENSE_SIZES["gzip_bytes"] / gzip_bytes},
        "encodings": [{"encoding": "sparse", **TRIED}],
        "inside": {
            "ops": {"FULLY_CONNECTED": 1},
            "stateful": False,
            "weights": [],
            "sparsity": 0.8,
            "sparse_kernels": [],
            "densified": [],
            "multiply_adds": 100,
            "nonzero_multiply_adds": 20,
            "masked": 80,
            "added": 0,
            "not_found": [],
        },
        "theoretical_speedup": 4.9,
        "latency": latency() if timed else None,
        "stages": {"export": STAGE},
    }


def network(accuracy, sizes):
    """What a result says of the dense or the pruned network."""
    metrics = None if accuracy is None else {"accuracy": accuracy}
    return {
        "accuracy": accuracy,
        "validation_accuracy": accuracy,
        "loss": 0.1,
        "metrics": metrics,
        "validation_metrics": metrics,
        **{form: dict(sizes) for form in ("tflite", "h5")},
    }


def result(*files, seed=0, note="", dense_accuracy=0.98, **settings):
    """A result with these exported files; ``schedule__final_sparsity=0.5`` sets a key of the config."""
    config = copy.deepcopy(CONFIG)
    for key, value in {**settings, "seed": seed}.items():
        *groups, last = key.split("__")
        part = config
        for group in groups:
            part = part[group]
        part[last] = value
    weight = {
        "name": "dense",
        "weight": "kernel",
        "shape": [20, 5],
        "zeros": 80,
        "masked": 80,
        "expected": 80,
    }
    layers = [
        {**weight, "requested_sparsity": 0.8, "measured_sparsity": 0.8},
        {**weight, "name": "a<b>", "requested_sparsity": None, "measured_sparsity": 0.75},
    ]
    return {
        "format": FORMAT,
        "config": config,
        "command": "python -m pruneflow 'dataset.name=<b>'",
        "versions": {"pruneflow": "0.1.0", "ai-edge-litert": "2.3.0"},
        "device": {"kind": "cpu", "name": "x86_64", "precision": "float32", "threads": 2},
        "seed": seed,
        "data": {
            "name": config["dataset"]["name"],
            "source": "cache",
            "digest": "ab" * 32,
            "note": note,
            "train": 54_000,
            "validation": 6_000,
            "test": 10_000,
        },
        "plan": {"begin_step": 1, "end_step": 631, "frequency": 63, "updates": 11, "total_steps": 844},
        "dense": {**network(dense_accuracy, DENSE_SIZES), "parameters": 200},
        "pruned": {
            **network(0.97, SIZES),
            "compression_ratio": 5.0,
            "requested_sparsity": 0.8,
            "measured_sparsity": 0.8,
            "layers": layers,
            "not_pruned": {"flatten": "has no weights"},
            "wrapped": {
                "accuracy": 0.97,
                "metrics": {"accuracy": 0.97},
                "disagreements": 0,
                "agreement": 1.0,
                "max_difference": 0.0,
            },
        },
        "tflite": list(files) or [exported()],
        "ratios": {"guide": 3.1, "export_gzip": 3.8},
        "phases": {"pruned": {"seconds": 2.0, "examples_per_second": 1000.0}},
        "stages": {"dense": STAGE},
        "seconds": 20.0,
        "peak_memory_bytes": 10**9,
    }


def untested(found):
    """The same with ``test_part=false``: nothing is known of the test part."""
    for each in (found["dense"], found["pruned"], found["pruned"]["wrapped"], *found["tflite"]):
        each |= {"accuracy": None, "metrics": None}
    for each in (found["dense"], found["pruned"]):
        each["loss"] = None
    return {**found, "part": "validation"}


def typed(found):
    """The same as a result is read, whether a run could have found it or not."""
    return fitted(found, Result)


def write_run(folder, found):
    """A folder as a run leaves it, with what a page looks for."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("[]\n")
    (folder / ".hydra" / "config.yaml").write_text("{}\n")
    (folder / "result.json").write_text(json.dumps(found))
    for file in found["tflite"]:
        (folder / file["file"]).write_bytes(b"tflite")
    return folder
