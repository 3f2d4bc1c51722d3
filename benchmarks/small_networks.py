"""Small networks dense, with zeros, with fewer channels and with both: accuracy, bytes and latency.

    python benchmarks/small_networks.py [--networks cnn lenet5 lstm resnet8 ds_cnn] [--seeds 0]
    python benchmarks/small_networks.py --set dataset.limit=6000 --page-only

Whole runs go to ``outputs/small_networks``. What is finished is not made again, so that the same command
goes on where it was stopped. The page, docs/benchmark.md, is written from the result.json files alone:
``--page-only`` trains nothing. ``--set`` adds settings to every run, and the page states them.
int4 files need the extra ``int4``.

resnet8 needs CIFAR-10 as a folder of images, ``--images cifar10/``. ds_cnn needs the spectrograms of
examples/spoken_digits.py, ``--digits digits.npz``. Minutes of a network with one seed, on two cores without
other work, estimated from the times of single runs: cnn 3, lenet5 8, lstm 8, ds_cnn 6, resnet8 75.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

import pruneflow
from pruneflow.flow import results
from pruneflow.flow.figures import Result, TfliteResult
from pruneflow.flow.judgement import WreckError
from pruneflow.flow.run_folder import is_done

FILES = ["export=every", "export.kinds=[float,int8,int4]"]
NETWORKS = {
    "cnn": [],
    "lenet5": ["experiment=lenet5"],
    "lstm": ["model=lstm", "dataset=imdb"],
    "resnet8": ["experiment=cifar10_resnet8", "dataset.path={images}"],
    "ds_cnn": [
        "model=ds_cnn",
        "dataset=arrays",
        "dataset.path={digits}",
        "dataset.name=spoken_digits",
        "dataset.examples=signal",
        "dataset.groups=groups",
        "trainer.dense_epochs=20",
        "trainer.epochs=20",
        "trainer.learning_rate=0.003",
        "trainer.learning_rate_decay=cosine",
    ],
}
WHAT = {
    "cnn": "The convolutional network of the guide *Pruning in Keras*",
    "lenet5": "LeNet-5-Caffe",
    "lstm": "The default LSTM",
    "resnet8": "ResNet-8 of MLPerf Tiny",
    "ds_cnn": "DS-CNN of MLPerf Tiny",
}
CUT = ["structure=channel", "schedule.final_sparsity=0.5"]
WAYS = {
    "dense": ["criterion=small_dense", "schedule.final_sparsity=0"],  # as wide, trained for as long
    "zeros 0.8": ["schedule.final_sparsity=0.8"],
    "channels 0.5": CUT,
    "both": [*CUT, "then=unstructured", "then.final_sparsity=0.8"],
}
PAGE = """# Small networks

`python benchmarks/small_networks.py` has written this page from the `result.json` files of its runs{set}.

- **dense**: no zeros, trained for as many epochs as the others. **zeros 0.8**: 80 % of the weights are zero.
  **channels 0.5**: half of the multiply-adds are cut out. **both**: 80 % zeros in the cut network.
- Accuracy is of the file, on the whole test part.
- The latency ratio is the time of the dense file of the same kind over that of the file, on one thread.
  Both are timed in turn, in one run.
- Figures of several seeds are the mean, with the lowest and the highest.
- These are not figures of MLPerf Tiny, whose networks are trained on other data and timed on other devices.

Made with {made}.
"""
TABLE = "| network | file | accuracy | bytes | after gzip | latency ratio |\n|---|---|---|---|---|---|\n"


def measured(name: str, way: str, seed: int, chosen: argparse.Namespace) -> None:
    """Make one run, unless it is there."""
    folder = folder_of(name, way, seed, chosen.set)
    if is_done(folder):
        return
    places = {"images": chosen.images, "digits": chosen.digits}
    words = [word.format(**places) for word in NETWORKS[name]]
    shutil.rmtree(folder, ignore_errors=True)  # its stages are kept
    try:
        pruneflow.run([*words, *FILES, *WAYS[way], f"seed={seed}", *chosen.set], folder=folder, report=False)
    except WreckError as error:  # everything is written
        print(f"{name} {way} seed {seed}: {error}")


def folder_of(name: str, way: str, seed: int, words: Sequence[str]) -> Path:
    digest = hashlib.sha256(" ".join(words).encode()).hexdigest()[:8] if words else "whole"
    return Path("outputs", "small_networks", digest, f"{name}-{way}-{seed}".replace(" ", "-"))


def page(chosen: argparse.Namespace) -> str:
    """Write all finished runs in words and tables."""
    sections: list[str] = []
    made: dict[str, None] = {}  # in order, each once
    for name in NETWORKS:
        rows, first = [], None
        for way in WAYS:
            found = [each for seed in chosen.seeds for each in read(name, way, seed, chosen.set)]
            rows += list(lines(way, found))
            first = first or next(iter(found), None)
        if first:
            sections.append(
                f"## {heading(name, first, len(chosen.seeds))}\n\n{TABLE}" + "\n".join(rows) + "\n"
            )
            made |= {f"{tool} {version}": None for tool, version in first.versions.items()}
            made[str(first.device["name"])] = None
    words = f", with `{' '.join(chosen.set)}`" if chosen.set else ""
    return "\n".join([PAGE.format(set=words, made=", ".join(made)), *sections])


def read(name: str, way: str, seed: int, words: Sequence[str]) -> Iterator[Result]:
    folder = folder_of(name, way, seed, words)
    if is_done(folder):
        yield results.read(folder)


def heading(name: str, result: Result, seeds: int) -> str:
    data, plan = result.data, result.plan
    examples = f"{data.train:,} + {data.validation:,} + {data.test:,} examples"
    epochs = f"{plan.dense_epochs} + {plan.epochs} epochs, {seeds} seed{'' if seeds == 1 else 's'}"
    return f"{WHAT[name]} on {data.name}\n\n{result.dense.parameters:,} parameters. {examples}, {epochs}."


def lines(way: str, found: Sequence[Result]) -> Iterator[str]:
    """Yield a row of the table for each kind of file."""
    kinds = dict.fromkeys(file.kind for result in found for file in result.tflite)
    for kind in kinds:
        files = [file for result in found for file in result.tflite if file.kind == kind]
        cells = (
            over(files, lambda file: file.accuracy, "{:.4f}"),
            over(files, lambda file: file.size.bytes, "{:,.0f}"),
            over(files, lambda file: file.size.gzip_bytes, "{:,.0f}"),
            over(files, lambda file: file.latency.speedup.ratio if file.latency else None, "{:.2f}x"),
        )
        yield f"| {way} | {kind} | " + " | ".join(cells) + " |"


def over(files: Iterable[TfliteResult], figure: Callable[[TfliteResult], float | None], form: str) -> str:
    """Return a figure over the seeds in words; empty where there is none."""
    values = [value for file in files if (value := figure(file)) is not None]
    if len(values) < 2:
        return "".join(form.format(value) for value in values)
    return f"{form} ({form} to {form})".format(fmean(values), min(values), max(values))


def main(typed: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="+", default=[])
    parser.add_argument("--images", default="cifar10/")
    parser.add_argument("--digits", default="digits.npz")
    parser.add_argument("--page", type=Path, default=Path("docs/benchmark.md"))
    parser.add_argument("--page-only", action="store_true")
    chosen = parser.parse_args(typed)
    if not chosen.page_only:
        for name in chosen.networks:
            for way in WAYS:
                for seed in chosen.seeds:
                    measured(name, way, seed, chosen)
    chosen.page.write_text(page(chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
