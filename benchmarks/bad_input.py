"""Type several hundred bad commands and give several hundred bad files; count how each is answered.

    python benchmarks/bad_input.py [--only PATTERN] [--workers 2] [--show]

Each command runs in a folder of its own. It must end in time with exit code 1 or 2, one message of a few
lines and no traceback, and leave its folder as it was. No data set is needed. The exit code is 1 if one does
not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_S = 300
LONGEST_MESSAGE = 6  # lines
DIGITS = Path(tempfile.gettempdir()) / f"bad-digits-{os.getpid()}.npz"
ANSWERS = ("answered", "accepted", "traceback", "crash", "wait", "leftover", "long")


@dataclass(frozen=True)
class Attempt:
    """One bad command.

    Attributes:
        door: Module that is started, such as ``pruneflow`` or ``pruneflow.clean``; empty for Python.
        words: What is typed.
        make: Makes the files that the command names.
        before: Shell text in front of the command, such as ``ulimit -v 1400000;``.
    """

    door: str
    words: str
    make: Callable[[Path], object] = field(default=lambda folder: None)
    before: str = ""

    @property
    def line(self) -> str:
        """The command as a shell takes it."""
        python = shlex.quote(sys.executable)
        if not self.door:
            return f"{self.before} {python} -c {shlex.quote(self.words)}"
        return f"{self.before} {python} -m {self.door} {self.words}"


# One setting each, typed after `python -m pruneflow`.
SETTINGS = """
seed=1e3
seed=4294967296
seed=null
seed=[1]
seed=true
seed=0x10000000000
report=maybe
report=null
objective=[]
objective=validation_accuracy
objective=[validation_accuracy,validation_accuracy]
objective=[bytes,bytes,bytes]
pruning.include=[]
pruning.include=null
pruning.include=conv2d
pruning.include=['[']
pruning.skip=['*']
pruning.skip=[null]
pruning.engine=null
pruning.engine=TFMOT
latency.seconds=inf
latency.seconds=nan
latency.seconds=1e12
latency.warmup=-1
latency.warmup=1000000000000
latency.threads=100000
latency.threads=1.5
tensorboard=null
stages=null
stages.reuse=perhaps
stages.dir=null
stages.dir=/dev/null
stages.dir=/dev/null/store
stages.dir=/proc/store
stages.checkpoint_seconds=nan
stages.checkpoint_seconds=inf
hydra.run.dir=/dev/null
hydra.run.dir=/dev/full/x
hydra.run.dir=null
model=cnn,mlp
model.filters=[-4]
model.filters=[1.5]
model.filters=[null]
model.filters=[1000000000]
model.filters=[4,[4]]
model.kernel_size=-3
model.kernel_size=29
model.kernel_size=100000000000000000000
model.pool_size=0
model.pool_size=1000
model.padding=null
model.dropout=1
model.dropout=nan
model.dropout=-0.5
model.dense_units=[0]
model.dense_units=[9000000000,9000000000]
model.dense_units={a:1}
model.convolution_activation=explode
model.output_activation=relu6x
model.batch_normalization=everywhere
model=mlp model.hidden_units=[1000000000]
model=mlp model.activation=null
model=mobilenet model.alpha=nan
model=mobilenet model.alpha=1e6
model=mobilenet model.dropout=2
model=lstm dataset=imdb model.units=0
model=lstm dataset=imdb model.units=100000000
model=lstm dataset=imdb model.embedding_dim=-1
model=gru dataset=imdb model.bidirectional=both
model=custom model.factory=os:system
model=custom model.factory=a.b.c
model=custom model.factory=:build
model=custom model.factory=json:nothing
model=keras_file model.path=.
model=keras_file model.path=/dev/null
model=keras_file model.path=/dev/zero
dataset=mnist dataset.validation_fraction=1
dataset=mnist dataset.validation_fraction=nan
dataset=mnist dataset.limit=0
dataset=mnist dataset.limit=-5
dataset=mnist dataset.limit=1e3
dataset=mnist dataset.split_seed=-1
dataset=mnist dataset.download=no_thanks
dataset=mnist dataset.path=/dev/zero
dataset=mnist dataset.path=/dev/null
dataset=mnist dataset.path=/
dataset=mnist dataset.path=''
dataset=imdb model=lstm dataset.length=0
dataset=imdb model=lstm dataset.length=10000000000
dataset=imdb model=lstm dataset.vocabulary_size=2
dataset=imdb model=lstm dataset.vocabulary_size=1000000000000
dataset=imdb model=lstm dataset.index_path=/dev/zero
dataset=image_folder
dataset=image_folder dataset.path=/dev/null
dataset=image_folder dataset.path=nowhere
dataset=image_folder dataset.path=. dataset.height=0
dataset=image_folder dataset.path=. dataset.height=1000000
dataset=image_folder dataset.path=. dataset.channels=0
dataset=image_folder dataset.path=. dataset.resize=magic
dataset=image_folder dataset.path=. dataset.corrupt=eat
dataset=image_folder dataset.path=. dataset.cache_max_bytes=-1
dataset=csv_text model=lstm
dataset=csv_text model=lstm dataset.path=/dev/zero
dataset=csv_text model=lstm dataset.path=nowhere.csv
dataset=csv_text model=lstm dataset.path=. dataset.encoding=klingon
dataset=arrays model=mlp
dataset=arrays model=mlp dataset.path=/dev/random
dataset=arrays model=mlp dataset.path=nowhere.npz
dataset=custom model=mlp
dataset=custom model=mlp dataset.factory=json:dumps
trainer.epochs=-1
trainer.min_steps=0
trainer.epochs=nan
trainer.epochs=1000000000000000000
trainer.dense_epochs=-1
trainer.batch_size=0
trainer.batch_size=-128
trainer.batch_size=1e30
trainer.dense_batch_size=10000000000000
trainer.learning_rate=nan
trainer.learning_rate=-0.001
trainer.learning_rate=inf
trainer.dense_learning_rate=0
trainer.decay_at=[2]
trainer.decay_at=[nan]
trainer.decay_factor=0
trainer.decay_factor=nan
trainer.optimizer=null
trainer.optimizer=Adam
trainer.optimizer_parameters.beta_1=1
trainer.optimizer_parameters.beta_1=-0.1
trainer.optimizer_parameters.clipnorm=-1
trainer.optimizer_parameters.weight_decay=nan
trainer.optimizer_parameters=null
trainer.loss=null
trainer.metrics=f1
trainer.metrics=[f1,f1]
trainer.early_stopping=null
trainer.early_stopping.patience=1e9
trainer.early_stopping.min_delta=nan
trainer.early_stopping.monitor=sparsity
device=null
device.kind=null
device.kind=gpu0
device.precision=float8
device.threads=-1
device.threads=1000000
device.inter_op_threads=0
device.evaluation_threads=0
device.evaluation_threads=1000000
device.memory_growth=growing
schedule=cubic
schedule.final_sparsity=nan
schedule.final_sparsity=inf
schedule.final_sparsity=80
schedule.final_sparsity=80%
schedule.initial_sparsity=0.95
schedule.begin_fraction=-1
schedule.end_fraction=2
schedule.begin_step=-1
schedule.begin_step=1000000000000000000000
schedule.frequency=-1
schedule.frequency=null
schedule.power=0
schedule.power=nan
schedule.power=1e300
structure=block structure.outputs=0
structure=block structure.inputs=1e9
structure=block structure.inputs=4.5
structure=n_of_m structure.n=0
structure=n_of_m structure.m=1000000000000
criterion=saliency
criterion=null
distribution.layers={'':0.5}
distribution.layers={conv2d:nan}
distribution.layers={conv2d:null}
distribution.layers=[conv2d]
distribution=global distribution.min_density=-1
distribution=global distribution.min_density=nan
distribution=global distribution.min_density=null
export=null
export.encoding=null
export.compression=rar
export.max_accuracy_drop=nan
export.max_accuracy_drop=-1
pruning.max_accuracy_drop=-1
export=int8 export.calibration_samples=0
export=int8 export.calibration_samples=-3
export=int8 export.calibration_samples=1.5
"""

# Sweeps, searches and flags, typed after `python -m pruneflow`.
SWEEPS = """
-m
-m seed=1
-m seed=range(5,1)
-m seed=range(0,10,0)
-m seed=range(0,1e9)
-m seed=range(0,3000),1 schedule.final_sparsity=range(0.1,0.9,0.0001)
-m seed=choice()
-m seed=interval(0,1)
-m seed=shuffle(1,2
-m seed=sort(1,b)
-m seed=1,,2
-m seed=1,x
-m model=*
-m model=glob(zzz*)
-m schedule.final_sparsity=0.5,nan
-m schedule.final_sparsity=0.5,0.5
-m trainer.batch_size=32,0
-m hydra.sweep.dir= seed=1,2
-m hydra.sweep.dir=/dev/null seed=1,2
-m hydra.sweep.subdir= seed=1,2
-m hydra.sweep.subdir=../../x seed=1,2
-m hydra/launcher=null seed=1,2
-m hydra/sweeper=grid seed=1,2
-m hydra/launcher=joblib hydra.launcher.n_jobs=1.5 seed=1,2
-m hydra/launcher=joblib hydra.launcher.n_jobs=100000000 seed=1,2
-m hydra/launcher=joblib hydra.launcher.backend=telepathy seed=1,2
-m hydra/launcher=joblib hydra.launcher.pre_dispatch=-4 seed=1,2
-m hydra/launcher=submitit_local hydra.launcher.timeout_min=0 seed=1,2
-m hydra/launcher=submitit_local hydra.launcher.mem_gb=-1 seed=1,2
-m hydra/launcher=submitit_local hydra.launcher.cpus_per_task=0 seed=1,2
-m hydra/launcher=submitit_slurm hydra.launcher.array_parallelism=0 seed=1,2
-m hydra/launcher=ray hydra.launcher.ray.init.num_cpus=-1 seed=1,2
-m hydra/sweeper=optuna hydra.sweeper.n_trials=-1 schedule.final_sparsity=interval(0.1,0.9)
-m hydra/sweeper=optuna hydra.sweeper.n_trials=1.5 schedule.final_sparsity=interval(0.1,0.9)
-m hydra/sweeper=optuna hydra.sweeper.n_jobs=-1 schedule.final_sparsity=interval(0.1,0.9)
-m hydra/sweeper=optuna hydra.sweeper.direction=sideways schedule.final_sparsity=interval(0.1,0.9)
-m hydra/sweeper=optuna hydra.sweeper.storage=mysql://nowhere schedule.final_sparsity=interval(0.1,0.9)
-m hydra/sweeper=optuna hydra/sweeper/sampler=psychic schedule.final_sparsity=interval(0.1,0.9)
-m hydra/sweeper=optuna schedule.final_sparsity=interval(0.9,0.1)
-m hydra/sweeper=optuna schedule.final_sparsity=interval(nan,1)
-m hydra/sweeper=optuna trainer.batch_size=interval(0,64)
hydra.mode=SOMETIMES
hydra.job.num=x
hydra.verbose=[1
hydra.output_subdir=/etc
hydra.callbacks.x._target_=os.abort
hydra.job_logging.handlers.x={'()':os.abort}
hydra.searchpath=[file:///nowhere]
hydra.searchpath=5
-c
-c everything
--info nonsense
--cfg job -p nowhere
--package nowhere --cfg job
--config-dir
--config-dir /dev/null
--config-name
--config-name ../x
--help-me
-h -m -z
---
=
=1
a=b=c
.seed=1
seed.=1
seed..x=1
model@x=cnn
+model@x=cnn
~model@x
~model.filters
++typo=1
+a.b.c.d=1
'seed =1'
'seed= '
'\\xff=1'
$'\\xff\\xfe=1'
$'seed=\\x01'
'日本=1'
"$(head -c 100000 /dev/zero | tr '\\0' 'a')=1"
"seed=$(head -c 100000 /dev/zero | tr '\\0' '9')"
"seed=$(head -c 4000 /dev/zero | tr '\\0' '[')"
'seed=${seed}'
'seed=${oc.env:NOWHERE}'
'seed=${oc.decode:[}'
'seed=${now:%Q}'
'seed=${nothing:1}'
'stages.dir=${stages.dir}'
'dataset.path=${dataset.name}/${x}'
"""

# Lines of conf/experiment/mine.yaml of the user's own, below `# @package _global_`.
YAML = [
    "seed: !!python/object/apply:os.system ['touch ran']",
    "seed: !!python/name:os.system",
    "seed: &a [*a]",
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nseed: [*c,*c,*c,*c]",
    "seed:\n\t1",
    "seed: 1\n--- \nseed: 2",
    "seed: {1: 2}",
    "? [a]\n: 1",
    "null: 1",
    "1: 1",
    "true: 1",
    "model:\n  filters: [[8]]",
    "model: null",
    "model: []",
    "model: 5",
    "trainer: text",
    "schedule:\n  final_sparsity: 0,8",
    "schedule:\n  final_sparsity: .nan",
    "schedule:\n  final_sparsity: !!binary aGVsbG8=",
    "schedule:\n  final_sparsity: 2026-01-01",
    "defaults: 5",
    "defaults:\n  - override /model: nothing",
    "defaults:\n  - /nowhere/file",
    "defaults:\n  - experiment/mine",
    "defaults: [{a: 1, b: 2}]",
    "hydra:\n  callbacks:\n    x:\n      _target_: os.abort",
    "hydra:\n  launcher:\n    _target_: os.abort",
    "hydra:\n  run:\n    dir: null",
    "seed: ${",
    "seed: ${oc.env:HOME}",
    "[" * 3000,
    "a: " + "[" * 3000,
    "seed: 1\x00",
    "\ufeff\ufeffseed: x",
    "seed: '" + "9" * 5000 + "'",
    "'': 1",
    "model.filters: [8]",
]


def saved(**arrays: Any) -> Callable[[Path], object]:
    return lambda folder: np.savez(folder / "x.npz", **arrays)


def text(name: str, content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


ROWS, LABELS = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
ROW = [f"some words of text {i},{'ab'[i % 2]}" for i in range(60)]
GREY = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)


def arrays() -> Iterator[Attempt]:
    """Arrays that nothing can be learned from, or that are none."""
    bad_rows: list[Any] = [
        np.full_like(ROWS, np.nan),
        np.full_like(ROWS, np.inf),
        np.where(np.arange(5) == 2, np.inf, ROWS),
        np.full_like(ROWS, 1e308) * np.where(np.arange(60)[:, None] % 2, 1, -1),
        ROWS.astype(complex),
        ROWS.astype("S3"),
        ROWS.astype("U8"),
        np.array("2026-01-01", "M8[D]") + np.arange(300).reshape(60, 5),
        np.zeros((60, 0)),
        np.zeros((0, 5)),
        np.zeros(60),
        np.float64(3),
        np.zeros((60, 5), [("a", "f4")]),
        np.zeros((59, 5)),
        np.zeros((60, 2, 2, 2, 2)),
    ]
    for rows in bad_rows:
        yield Attempt("pruneflow", "dataset=arrays model=mlp dataset.path=x.npz", saved(x=rows, y=LABELS))
    bad_labels: list[Any] = [
        np.zeros(60, int),
        np.arange(60),
        LABELS - 1.5,
        np.full(60, np.nan),
        LABELS.reshape(60, 1, 1),
        np.eye(60),
        LABELS.astype(complex),
        np.array(["a", "b", ""] * 20),
        np.array(["a", "A", "b"] * 20).astype("U1"),
        np.zeros((60, 0)),
        np.zeros(0),
        np.array(0),
    ]
    for number, labels in enumerate(bad_labels):
        if number != 8:  # two classes that differ by case are two classes
            yield Attempt("pruneflow", "dataset=arrays model=mlp dataset.path=x.npz", saved(x=ROWS, y=labels))
    for task in (np.full(60, 1e300), np.zeros(60), np.full(60, np.inf), np.array(["a"] * 60)):
        words = "dataset=arrays model=mlp dataset.path=x.npz dataset.task=regression"
        yield Attempt("pruneflow", words, saved(x=ROWS, y=task))
    objects = np.array([[1, "a"]] * 60, dtype=object)
    yield Attempt("pruneflow", "dataset=arrays model=mlp dataset.path=x.npz", saved(x=objects, y=LABELS))
    for keys in ("dataset.x_key=z", "dataset.y_key=x", "dataset.x_test_key=q", "dataset.labels_path=nowhere"):
        yield Attempt(
            "pruneflow", f"dataset=arrays model=mlp dataset.path=x.npz {keys}", saved(x=ROWS, y=LABELS)
        )
    for name, content in [
        ("x.npz", b""),
        ("x.npz", b"PK\x03\x04"),
        ("x.npz", os.urandom(999)),
        ("x.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '|O'}"),
        (
            "x.npy",
            b"\x93NUMPY\x01\x00v\x00"
            + b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999,)}".ljust(118),
        ),
        (
            "x.npy",
            b"\x93NUMPY\x01\x00v\x00"
            + b"{'descr': '<f8', 'fortran_order': False, 'shape': (-3,)}".ljust(118),
        ),
        ("x.npy", b"\x93NUMPY\x09\x00"),
    ]:
        yield Attempt("pruneflow", f"dataset=arrays model=mlp dataset.path={name}", text(name, content))
    for shape in ((60, 1, 1), (60, 2000, 1, 1), (60, 8, 8, 7)):
        images = np.zeros(shape, np.uint8)
        yield Attempt("pruneflow", "dataset=arrays dataset.path=x.npz", saved(x=images, y=LABELS))
    fifo = lambda folder: os.mkfifo(folder / "x.npz")  # noqa: E731
    yield Attempt("pruneflow", "dataset=arrays model=mlp dataset.path=x.npz", fifo)
    loop = lambda folder: (folder / "x.npz").symlink_to("x.npz")  # noqa: E731
    yield Attempt("pruneflow", "dataset=arrays model=mlp dataset.path=x.npz", loop)


def tables() -> Iterator[Attempt]:
    """Tables of texts that cannot be read, or say nothing."""
    words = "dataset=csv_text model=lstm dataset.path=x.csv"
    contents: list[str | bytes] = [
        "",
        "\n\n\n",
        "text,label",
        "text,label\n",
        "label\na\nb\n",
        "text,text,label\n" + "a,b,c\n" * 50,
        "text,label\n" + "one two,a\n" * 60,
        "text,label\n" + ",a\n,b\n" * 30,
        "text,label\n" + "\n".join(f"words {i},{i}" for i in range(60)),
        "text,label\n" + "\n".join(ROW[:3]),
        "text,label\n" + "\n".join(ROW) + '\n"never closed,a\n' + "\n".join(ROW),
        "text,label\n" + "\n".join(ROW) + "\na,b,c,d,e\n",
        "text;label\n" + "\n".join(ROW).replace(",", ";").replace(";", "|"),
        "text,label\n" + "\n".join(f"words {i},a\0b" for i in range(60)),
        b"\xff\xfet\x00e\x00",
        b"text,label\n" + b"\xe9t\xe9,a\n" * 60,
        b"text,label\n" + os.urandom(5000),
        "text,label\n" + "a" * 200_000 + ",a\n" + "b,b\n",
    ]
    for content in contents:
        yield Attempt("pruneflow", words, text("x.csv", content))
    good = text("x.csv", "text,label\n" + "\n".join(ROW))
    for more in (
        "dataset.text_column=nothing",
        "dataset.label_column=text",
        "dataset.test_path=nowhere.csv",
        "dataset.test_path=x.csv dataset.test_fraction=0.5",
        "dataset.missing=guess",
        "dataset.vocabulary_size=0",
        "dataset.index_path=x.csv",
        "dataset.class_names=[a]",
        "dataset.class_names=[a,a]",
        "dataset.class_names=[a,b,c]",
        "dataset.test_fraction=1",
        "dataset.test_fraction=0.999",
        "dataset.encoding=rot13",
        "dataset.encoding=hex",
    ):
        yield Attempt("pruneflow", f"{words} {more}", good)
    yield Attempt("pruneflow", words, lambda folder: os.mkfifo(folder / "x.csv"))
    yield Attempt("pruneflow", words, lambda folder: (folder / "x.csv").mkdir())


def images() -> Iterator[Attempt]:
    """Folders of images that hold none, or broken ones."""
    from PIL import Image

    words = "dataset=image_folder dataset.path=d"

    def folder_of(*names: str, content: Any = None, mode: str = "RGB") -> Callable[[Path], object]:
        def make(folder: Path) -> None:
            for name in names:
                file = folder / "d" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                if content is None:
                    Image.new(mode, (8, 8)).save(file)
                elif callable(content):
                    content(file)
                else:
                    file.write_bytes(content)

        return make

    two = [f"{name}/{i}.png" for name in "ab" for i in range(6)]
    yield Attempt("pruneflow", words, lambda folder: (folder / "d").mkdir())
    yield Attempt("pruneflow", words, folder_of("a/1.png"))
    yield Attempt("pruneflow", words, folder_of("1.png", "2.png"))
    yield Attempt("pruneflow", words, folder_of(*two, content=b""))
    yield Attempt("pruneflow", words, folder_of(*two, content=b"\x89PNG\r\n\x1a\n"))
    yield Attempt("pruneflow", words, folder_of(*two, content=os.urandom(300)))
    yield Attempt("pruneflow", words, folder_of(*two, content=b"<svg onload='x'/>"))
    yield Attempt("pruneflow", words, folder_of(*two, content=lambda file: os.mkfifo(file)))
    yield Attempt("pruneflow", words, folder_of(*two, content=lambda file: file.symlink_to("/dev/zero")))
    yield Attempt("pruneflow", words, folder_of(*two, content=lambda file: file.symlink_to("nowhere")))
    yield Attempt("pruneflow", words, folder_of(*two, content=lambda file: file.mkdir()))
    yield Attempt("pruneflow", f"{words} dataset.class_names=[a,c]", folder_of(*two))
    yield Attempt("pruneflow", f"{words} dataset.channels=2", folder_of(*two))
    yield Attempt("pruneflow", f"{words} dataset.cache_dir=/proc/x", folder_of(*two))
    yield Attempt("pruneflow", f"{words} dataset.height=8", folder_of(*two))
    bomb = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x0f\xff\xff\x00\x0f\xff\xff\x08\x02\x00\x00\x00" + bytes(
        99
    )
    yield Attempt("pruneflow", words, folder_of(*two, content=bomb))


def networks() -> Iterator[Attempt]:
    """Files that are no network, or a hostile one."""

    def archive(**members: str) -> Callable[[Path], object]:
        def make(folder: Path) -> None:
            saved(x=ROWS, y=LABELS)(folder)
            with zipfile.ZipFile(folder / "n.keras", "w") as file:
                for name, content in members.items():
                    file.writestr(name.replace("__", "."), content)

        return make

    words = "model=keras_file model.path={} dataset=arrays dataset.path=x.npz"
    layer = {"class_name": "Dense", "config": {"units": 3, "name": "d"}, "module": "keras.layers"}
    for config in (
        "",
        "[]",
        "null",
        "{}",
        "5",
        "[" * 100_000,
        json.dumps({"class_name": "Sequential"}),
        json.dumps({"class_name": "Sequential", "config": {"layers": 5}}),
        json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": [layer] * 2}}),
        json.dumps({"class_name": "os.system", "config": {"command": "touch ran"}, "module": "os"}),
        json.dumps(
            {"class_name": "Functional", "config": {"layers": [], "input_layers": [], "output_layers": []}}
        ),
        json.dumps(
            {"class_name": "Sequential", "config": {"layers": [{**layer, "config": {"units": 10**12}}]}}
        ),
        json.dumps({"class_name": "Sequential", "config": {"layers": [{**layer, "config": {"units": -1}}]}}),
        json.dumps({"class_name": "Sequential", "config": {"layers": [{**layer, "class_name": "Nothing"}]}}),
    ):
        yield Attempt("pruneflow", words.format("n.keras"), archive(config__json=config, metadata__json="{}"))
    for name, content in [
        ("n.h5", b""),
        ("n.h5", b"\x89HDF\r\n\x1a\n"),
        ("n.h5", os.urandom(4000)),
        ("n.keras", b"PK\x05\x06" + bytes(18)),
        ("n.keras", os.urandom(100)),
        ("n.pb", b"x"),
        ("n.onnx", b"x"),
        ("n.txt", b"x"),
    ]:

        def both(folder: Path, name: str = name, content: bytes = content) -> None:
            saved(x=ROWS, y=LABELS)(folder)
            (folder / name).write_bytes(content)

        yield Attempt("pruneflow", words.format(name), both)
    for name in ("n.h5", "n.keras"):

        def pipe(folder: Path, name: str = name) -> None:
            os.mkfifo(folder / name)

        yield Attempt("pruneflow", words.format(name), pipe)

    def saved_model(folder: Path) -> None:
        saved(x=ROWS, y=LABELS)(folder)
        (folder / "sm" / "variables").mkdir(parents=True)
        for name in ("saved_model.pb", "keras_metadata.pb", "variables/variables.index"):
            (folder / "sm" / name).write_bytes(os.urandom(500))

    yield Attempt("pruneflow", words.format("sm"), saved_model)


def files() -> Iterator[Attempt]:
    """TFLite files that are none, folders without a run, stores that are none."""
    for door in ("pruneflow.evaluate", "pruneflow.latency"):
        data = "dataset=arrays dataset.path=x.npz" if door == "pruneflow.evaluate" else ""
        for content in (
            b"",
            b"TFL3",
            bytes(8) + b"TFL3" + bytes(50),
            b"\x1c\x00\x00\x00TFL3" + os.urandom(300),
            os.urandom(5000),
        ):

            def make(folder: Path, content: bytes = content) -> None:
                saved(x=ROWS, y=LABELS)(folder)
                (folder / "m.tflite").write_bytes(content)

            yield Attempt(door, f"m.tflite {data}", make)
        for words in ("", "nowhere.tflite", ".", "/dev/zero", "/dev/null", "--nothing", "a=b", "''"):
            yield Attempt(door, f"{words} {data}" if words else words)
        yield Attempt(door, f"m.tflite {data}", lambda folder: os.mkfifo(folder / "m.tflite"))
    for more in (
        "dataset=null",
        "dataset=nothing",
        "seed=1",
        "latency.seconds=-1",
        "latency=null",
        "device.evaluation_threads=0",
        "device.evaluation_threads=999999999999",
        "device.evaluation_threads=x",
    ):
        yield Attempt("pruneflow.evaluate", f"m.tflite {more}", text("m.tflite", bytes(8)))

    def foreign(folder: Path) -> None:
        (folder / "v1" / "models" / "a").mkdir(parents=True)
        (folder / "v1" / "models" / "a" / "weights").write_text("precious")

    for words in (
        "--dir nowhere --max-size 0",
        "--dir . --max-size 0",
        "--dir '' --days 1",
        "--dir / --max-size 0",
        "--dir /etc --days 0",
        "--dir .. --max-size 0",
        "--dir v1 --max-size 0",
        "--dir . --days -0.5",
        "--dir . --days nan",
        "--dir . --days inf",
        "--dir . --days 1e400",
        "--dir . --days x",
        "--dir . --max-size -1",
        "--dir . --max-size 1X",
        "--dir . --max-size ''",
        "--dir . --max-size nan",
        "--max-size 1G extra",
        "--nothing",
    ):
        yield Attempt("pruneflow.clean", words, foreign)
    for result in (
        "",
        "null",
        "5",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format": 99}',
        '{"format": 2}',
        '{"format": 2, "tflite": [], "dense": [], "pruned": "x"}',
        "\x00" * 50,
        '{"a": ' * 5000,
    ):

        def run(folder: Path, result: str = result) -> None:
            (folder / "run" / ".hydra").mkdir(parents=True)
            (folder / "run" / "result.json").write_text(result)

        yield Attempt("pruneflow.report", "run", run)
    for words in (
        "",
        "''",
        "/dev/null",
        "/dev/zero",
        "nowhere nowhere",
        "--output x",
        ". --output /proc/x.html",
        "/proc/self",
    ):
        yield Attempt("pruneflow.report", words)


def library() -> Iterator[Attempt]:
    """Wrong arguments of the library."""
    for call in (
        "run({})",
        "run('model=lstm')",
        "run(compose(), folder=5)",
        "compose(5)",
        "compose(['seed=x'])",
        "compose([b'seed=1'])",
        "compose(['model=lstm'])",
        "compose(['hydra.run.dir=x'])",
        "prune(None, steps=100)",
        "prune(object(), steps=100)",
        "prune('model.h5', steps=100)",
        "prune(int, steps=100)",
        "export(None)",
        "export('model.h5')",
    ):
        code = f"""
import sys
import pruneflow
from pruneflow import compose, export, prune, run
try:
    {call}
except pruneflow.PruneflowError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""
        yield Attempt("", code)


def surroundings() -> Iterator[Attempt]:
    """Settings that are wrong, typed where little works."""
    bad = "schedule.final_sparsity=2"
    for before in (
        "unset HOME;",
        "HOME=relative",
        "HOME=/nowhere/at/all",
        "XDG_CACHE_HOME=/dev/null",
        "TMPDIR=/nowhere",
        "PYTHONIOENCODING=ascii",
        "LC_ALL=C",
        "COLUMNS=1",
        "TERM=",
        "PYTHONOPTIMIZE=2",
        "MPLBACKEND=garbage",
        "KERAS_BACKEND=torch",
        "TF_USE_LEGACY_KERAS=0",
        "PRUNEFLOW_DATA_DIR=/nowhere",
        "exec 0<&-;",
    ):
        yield Attempt("pruneflow", bad, before=before)
    data = saved(x=ROWS, y=LABELS)
    for limit in (300_000, 700_000, 1_000_000, 1_400_000):
        yield Attempt(
            "pruneflow", "dataset=arrays model=mlp dataset.path=x.npz", data, before=f"ulimit -v {limit};"
        )


def attempts() -> list[Attempt]:
    typed = [line for block in (SETTINGS, SWEEPS) for line in block.splitlines() if line]
    found = [
        Attempt("pruneflow", line if line[0] in "'\"$" or line.startswith("-") else quoted(line))
        for line in typed
    ]
    for lines in YAML:

        def make(folder: Path, lines: str = lines) -> None:
            (folder / "mine" / "experiment").mkdir(parents=True)
            (folder / "mine" / "experiment" / "mine.yaml").write_text(
                f"# @package _global_\n{lines}\n", "utf-8"
            )

        found.append(Attempt("pruneflow", "--config-dir mine experiment=mine", make))
    for more in (arrays, tables, images, networks, files, library, surroundings):
        found += more()
    return found


def quoted(line: str) -> str:
    return " ".join(word if "'" in word else shlex.quote(word) for word in line.split(" "))


def answer(attempt: Attempt) -> tuple[str, str]:
    """Type one command.

    Returns:
        How it was answered, one of ANSWERS, and what it said.
    """
    folder = Path(tempfile.mkdtemp(prefix="bad-"))
    try:
        (folder / ".cache").mkdir()
        shutil.copy(DIGITS, folder / ".cache" / "mnist.npz")
        attempt.make(folder)
        before = listing(folder)
        environment = {
            **os.environ,
            "PRUNEFLOW_DATA_DIR": str(folder / ".cache"),
            "XDG_CACHE_HOME": str(folder / ".cache"),
        }
        try:
            done = subprocess.run(
                ["bash", "-c", attempt.line],
                cwd=folder,
                env=environment,
                capture_output=True,
                timeout=LIMIT_S,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return "wait", ""
        said = done.stderr.decode(errors="replace")
        left = sorted(listing(folder) - before)
        if "Traceback (most recent" in said or re.search(r"^\w*Error\b", said, re.MULTILINE):
            return "traceback", said
        if done.returncode == 0:
            return "accepted", said
        if done.returncode not in (1, 2) or not (said + done.stdout.decode(errors="replace")).strip():
            return "crash", f"exit {done.returncode}: {said}"
        if left:
            return "leftover", f"{left[:5]}: {said}"
        if len(said.strip().splitlines()) > LONGEST_MESSAGE or len(said) > 3000:
            return "long", said
        return "answered", said
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def listing(folder: Path) -> set[str]:
    ours = {".cache"}
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[0] not in ours
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="a pattern of the commands to type")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="print every answer")
    chosen = parser.parse_args()
    wanted = [
        each for each in attempts() if re.search(chosen.only, f"{each.before} {each.door} {each.words}")
    ]
    counts: Counter[str] = Counter()
    x, y = np.random.default_rng(0).integers(0, 255, (400, 28, 28)).astype(np.uint8), np.arange(400) % 10
    np.savez(DIGITS, x_train=x, y_train=y, x_test=x[:100], y_test=y[:100])
    with ThreadPoolExecutor(chosen.workers) as pool:
        for attempt, (kind, said) in zip(wanted, pool.map(answer, wanted), strict=True):
            counts[kind] += 1
            if chosen.show or kind != "answered":
                print(f"{kind:10} {attempt.before} {attempt.door} {attempt.words[:160]!r}")
                print(f"    {said.strip()[-600:]}", flush=True)
    print(f"{len(wanted)} bad commands and files: " + ", ".join(f"{counts[kind]} {kind}" for kind in ANSWERS))
    return 0 if set(counts) <= {"answered"} else 1


if __name__ == "__main__":
    sys.exit(main())
