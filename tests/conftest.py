"""Tiny data sets in the stored layouts, and configs composed as the command line composes them."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import io
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked
import hydra
import numpy as np
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig

# A shell without job control starts what it puts in the background with SIGINT ignored, and nohup ignores
# SIGHUP; so would the runs that tests interrupt.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler)

# Real data, where the person who runs the tests has them; everything else sees the tiny ones.
REAL_DATA = os.environ.get("PRUNEFLOW_DATA_DIR")
os.environ["TF_USE_LEGACY_KERAS"] = "1"
# Folders of tests outlive this process, whose other temporary files do not.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
os.environ["HYDRA_FULL_ERROR"] = "1"
os.environ.setdefault("MPLCONFIGDIR", str(Path("~/.cache/matplotlib").expanduser()))  # its list of fonts

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import parsed_once

    import pruneflow
    from pruneflow.command import isolation, plugins
    from pruneflow.exports import latency, latency_child
    from pruneflow.flow import config
    from pruneflow.flow.manifests import LAYOUT
    from pruneflow.runtime import child, surroundings
    from pruneflow.training.fit import Fit

assert parsed_once
surroundings.own_process()

gc.set_threshold(20_000, 20, 50)  # of what TensorFlow makes while it traces, little is garbage


TIERS = ("quick", "run", "long", "cluster", "browser")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What belongs to no other tier is quick; what takes minutes begins first, lest one worker end alone."""
    items.sort(key=lambda item: "real_data" not in getattr(item, "fixturenames", ()))
    for item in items:
        if not any(item.get_closest_marker(name) for name in TIERS):
            item.add_marker(pytest.mark.quick)


@pytest.fixture(autouse=True)
def _a_quick_test_trains_nothing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("quick"):
        monkeypatch.setattr(Fit, "run", lambda *_, **__: pytest.fail("a quick test trains: mark it as run"))


def write_mnist(folder: Path, train: int = 400, test: int = 100) -> None:
    """Images whose class can be read off the row that is lit."""
    rng = np.random.default_rng(0)

    def images(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 10
        pixels = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for index, label in enumerate(labels):
            pixels[index, 2 * label + 2 : 2 * label + 6, 4:24] = 250
        return pixels, labels.astype(np.uint8)

    x_train, y_train = images(train)
    x_test, y_test = images(test)
    np.savez(folder / "mnist.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def write_imdb(folder: Path, train: int = 400, test: int = 100) -> None:
    """Reviews whose class can be read off one word."""
    rng = np.random.default_rng(1)

    def reviews(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = (np.arange(count) % 2).astype(np.uint8)
        lengths = rng.integers(3, 30, count)
        tokens = [
            np.append(rng.integers(5, 60, n), 1 + label) for n, label in zip(lengths, labels, strict=True)
        ]
        offsets = np.concatenate([[0], np.cumsum(lengths + 1)])
        return np.concatenate(tokens).astype(np.int32), offsets.astype(np.int64), labels

    arrays = {}
    for half, count in (("train", train), ("test", test)):
        tokens, offsets, labels = reviews(count)
        arrays |= {f"x_{half}_tokens": tokens, f"x_{half}_offsets": offsets, f"y_{half}": labels}
    np.savez(folder / "imdb.npz", **arrays)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_mnist(folder)
    write_imdb(folder)
    return folder


@pytest.fixture(autouse=True, scope="module")
def _what_stays_is_not_looked_at_again() -> Iterator[None]:
    """TensorFlow keeps some of each network, through which Python would walk at every collection."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _tiny_cache(tiny_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads the user's cache, or writes outputs/ where it was started."""
    monkeypatch.setenv("PRUNEFLOW_DATA_DIR", str(tiny_data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny_data / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(isolation, "_after_first", None)  # each test is the first cell of its process


FORKED = SimpleNamespace(**{**vars(subprocess), "Popen": forked.Command})


@pytest.fixture(autouse=True)
def _children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of the process are forked from one that has loaded TensorFlow, in most tests."""
    forked.surroundings.clear()
    forked.surroundings.update(os.environ)
    for module in (child, isolation):
        monkeypatch.setattr(module, "subprocess", FORKED)


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> str:
    if not REAL_DATA:
        pytest.skip("set PRUNEFLOW_DATA_DIR to a folder with mnist.npz and imdb.npz to run on real data")
    monkeypatch.setenv("PRUNEFLOW_DATA_DIR", REAL_DATA)
    return REAL_DATA


def timed_in_this_process(job: latency_child.Job) -> Any:
    """Answer as a child does; the dozen of children that each measurement starts have tests of their own."""
    *_, last = {"time": latency_child._time, "memory": latency_child._memory}[job.task](job)
    return last["answer"]


@pytest.fixture
def timed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurement starts a process."""
    monkeypatch.setattr(latency, "_answer", timed_in_this_process)


# What makes a run on the tiny data last a second or two.
QUICK = [
    "latency.seconds=0",  # its own tests measure
    "report=false",  # and draw
    "trainer.dense_epochs=1",
    "trainer.epochs=2",
    "trainer.dense_batch_size=40",
    "trainer.batch_size=40",
    "schedule.frequency=auto",
]
QUICK_LSTM = [
    "latency.seconds=0",
    "model.units=8",
    "model.embedding_dim=8",
    "dataset.vocabulary_size=70",
    "dataset.length=12",
    "trainer.dense_epochs=4",
    "trainer.learning_rate=0.03",
]


@functools.cache
def composed_once(*overrides: str) -> DictConfig:
    """Compose what many tests ask for: it takes a sixth of a second."""
    return hydra.compose("config", list(overrides))


def sets_a_key(override: Override) -> bool:
    key = override.key_or_group
    chooses = key.startswith("hydra") or override.package or (config.config_folder() / key).is_dir()
    return override.type == OverrideType.CHANGE and not chooses


@functools.cache
def with_keys(*overrides: str) -> DictConfig:
    """Compose the options that are chosen once, and set the keys in a copy, as Hydra does at its end."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    keys = [override for override in parsed if sets_a_key(override)]
    pairs = zip(overrides, parsed, strict=True)
    chosen = composed_once(*[text for text, override in pairs if not sets_a_key(override)])
    made = copy.deepcopy(chosen)
    ConfigLoaderImpl._apply_overrides_to_config(keys, made)
    return made


@pytest.fixture
def composed() -> Iterator[Callable[..., config.Config]]:
    """Compose overrides into a typed config."""
    with hydra.initialize_config_dir(str(config.config_folder()), version_base="1.3"):
        plugins.prefer_own_yaml()
        yield lambda *overrides: config.from_hydra(with_keys(*overrides))


@pytest.fixture(scope="session")
def shared_stages(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store, as an override: what one test has trained, all others that name it take.

    Not for a test that watches or breaks what makes a stage.
    """
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # beside those of other workers
    return f"stages.dir={folder / 'shared-stages'}"


@pytest.fixture
def sharing(composed: Callable[..., config.Config], shared_stages: str) -> Callable[..., config.Config]:
    """Compose as `composed` does, with the store that tests share."""
    return lambda *overrides: composed(*overrides, shared_stages)


@functools.cache
def quick_stages(shared_stages: str) -> dict[str, Path]:
    """Folders of the stages of a run with QUICK alone, by their names."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        result = pruneflow.run([*QUICK, shared_stages], folder=Path(folder, "run"))
    return {name: Path(stage.path) for name, stage in result.stages.items()}


@pytest.fixture
def trained_before(shared_stages: str) -> Callable[..., None]:
    """Return a function that copies stages of a run with QUICK into a store of the test's own.

    For a test that watches or breaks what comes after them.
    """
    stages = quick_stages(shared_stages)

    def copied(*names: str, store: Path = Path("outputs", ".stages")) -> None:
        for name in names:
            shutil.copytree(stages[name], store / LAYOUT / name / stages[name].name)

    return copied
