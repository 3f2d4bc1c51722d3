"""pruneflow as a library: whole runs from a notebook, and pruning and export for a ``fit`` of one's own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
import numpy.typing as npt
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from pruneflow import backend, refusals
from pruneflow.config import Config, config_folder, from_hydra, masks_for, plain
from pruneflow.data import Data, Part, Spec
from pruneflow.errors import ConfigError
from pruneflow.files import write_file
from pruneflow.folders import require_no_run, require_writable, unused
from pruneflow.options import choices, require, require_one_of
from pruneflow.plugins import prefer_own_yaml
from pruneflow.report.points import spelled
from pruneflow.sweep import FAILURE_FILE, differing, record_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pruneflow.results import Result
    from pruneflow.sparsity.masks import MaskPlan

__all__ = ["Pruned", "compose", "export", "prune", "run"]

# Settings that are a mapping with keys of the user's own.
OPEN = ("distribution.layers", "dataset.arguments", "model.arguments")
GROUPS = ("schedule", "structure", "criterion", "distribution")


def compose(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Config:
    """Compose settings as the command line does, into typed objects that can be read and changed.

    Args:
        overrides: What would be typed after ``python -m pruneflow``.
        config_dir: A folder of YAML files of one's own, as ``--config-dir`` takes it.

    Raises:
        ConfigError: for settings that cannot be used.

    >>> config = compose(["schedule.final_sparsity=0.9"])
    >>> config.schedule.final_sparsity, config.model.name
    (0.9, 'cnn')
    """
    words = list(overrides)
    if isinstance(overrides, str):
        raise ConfigError(f"overrides={overrides!r}: it must be a list, such as ['{overrides}'].")
    if config_dir is not None:
        folder = Path(config_dir).absolute()
        require(folder.is_dir(), "config_dir", config_dir, "there is no such folder", "Name one.")
        words.append(f'hydra.searchpath=["file://{folder}"]')
    with _hydra():
        try:
            return from_hydra(hydra.compose("config", words))
        except refusals.REFUSED as error:
            raise ConfigError(refusals.in_words(error)) from error


def run(
    settings: Sequence[str] | Config = (), *, folder: str | Path | None = None, report: bool | None = None
) -> Result:
    """Load, train dense, prune, export and evaluate, as ``python -m pruneflow`` does in one run.

    What is finished is taken from the store of stages, and training that was cut off goes on from its last
    checkpoint. Neither the working folder nor logging is changed.

    Args:
        settings: What would be typed after ``python -m pruneflow``, or what `compose` gave.
        folder: Where it goes: a new one, or that of a run that failed; None makes one below ``outputs/``,
            named after the time.
        report: Whether it ends with ``report.html``; None does what the settings say.

    Returns:
        The result, as in ``result.json`` of the folder.

    Raises:
        ConfigError: for settings that cannot be used; nothing is written then.
        PruneflowError: if the run fails.
    """
    from pruneflow import hparams, pipeline, preparation

    preparation.forget()  # files and functions may have changed since the last run of this process
    config, words = _checked(settings)
    place = _new_folder() if folder is None else Path(folder)
    if not (place / FAILURE_FILE).is_file():  # one that failed is run again
        require_no_run(place, "folder")
    require_writable(place)
    ready = pipeline.prepare(config)
    _begin(place, config, words)
    command = shlex.join(["python", "-m", "pruneflow", *words])
    try:
        result = pipeline.run(config, ready, place, command=command)
        hparams.write(place, differing(words, []))
    except Exception as error:
        record_failure(place, refusals.failure_in_words(error) or f"{type(error).__name__}: {error}")
        raise
    if config.report if report is None else report:
        from pruneflow.report.automatic import report_run

        report_run(place)
    return result


def _checked(settings: Sequence[str] | Config) -> tuple[Config, list[str]]:
    """The settings as objects, checked again where they may have been changed, and the words for them."""
    if not isinstance(settings, Config):
        return compose(settings), list(settings)
    try:
        config = from_hydra(OmegaConf.structured(settings))
    except refusals.REFUSED as error:
        raise ConfigError(refusals.in_words(error)) from error
    except TypeError as error:
        raise ConfigError(f"A setting has a value of another type than it takes: {error}.") from error
    return config, _words_of(config)


def _words_of(config: Config) -> list[str]:
    """What would be typed to get these settings."""
    wanted = plain(config)
    groups = [
        f"{group}={getattr(config, group).option_name}"
        for group in wanted
        if getattr(getattr(config, group), "option_name", None) in choices(group)
    ]
    usual = plain(compose())
    chosen = [word for word in groups if word.partition("=")[2] != _option(usual, word)]
    before, after = (_leaves(values) for values in (plain(compose(chosen)), wanted))
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
    return chosen + [f"{key}={_spelled(value)}" for key, value in changed.items()]


def _option(usual: dict[str, Any], word: str) -> str:
    """What is chosen of a group where nothing is typed."""
    group = word.partition("=")[0]
    return str(usual[group].get("name", "default"))


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and f"{prefix}{key}" not in OPEN:
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _begin(place: Path, config: Config, words: Sequence[str]) -> None:
    """Make the folder, and note down what is going to run in it, as Hydra does."""
    (place / ".hydra").mkdir(parents=True, exist_ok=True)
    (place / FAILURE_FILE).unlink(missing_ok=True)
    write_file(place / ".hydra" / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain(config))).encode())
    write_file(place / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(list(words))).encode())


@dataclass(frozen=True)
class Pruned:
    """A model that is pruned while it is trained.

    Attributes:
        model: A ``tf_keras.Model`` to compile and fit; a copy, the model that was given is not changed.
        callbacks: What its ``fit`` needs.
        plan: When masks change, and what of.
    """

    model: Any
    callbacks: list[Any]
    plan: MaskPlan
    _fresh: Any

    def strip(self) -> Any:
        """The trained network without masks and wrappers: a plain ``tf_keras.Model`` with zeros.

        Raises:
            SparsityNotReachedError: if the zeros miss what the schedule asks for, as after too few steps.
        """
        from pruneflow.sparsity import measure
        from pruneflow.sparsity import prune as adapter

        end = self.plan.plan.total_steps
        measure.require_target(adapter.measure(self.model, self.plan, end), adapter.total(self.plan))
        return adapter.strip(self.model, into=self._fresh)


def prune(
    model: Any,
    *,
    steps: int,
    skip: Sequence[str] = (),
    seed: int = 0,
    **options: Any,
) -> Pruned:
    """Prepare a model of one's own for a ``fit`` of one's own.

    Args:
        model: A built functional or sequential ``tf_keras.Model``, trained or not.
        steps: Steps that ``fit`` is going to make: batches per epoch times epochs.
        skip: Patterns on names of layers that stay dense.
        seed: For what draws, such as ``criterion="random"``.
        options: ``schedule``, ``structure``, ``criterion``, ``distribution``: each the name of an option, a
            dictionary ``{"name": ..., key: value}``, or an object from `compose`.

    Raises:
        ConfigError: for options that do not fit each other, the steps or the model.
    """
    from pruneflow.sparsity import prune as adapter

    _require_model(model)
    allowed = "allowed are whole numbers from 1"
    whole = isinstance(steps, int) and not isinstance(steps, bool)
    require(whole and steps >= 1, "steps", steps, allowed, "Count the batches of all epochs.")
    chosen = _options(options)
    config = replace(compose([f"seed={seed}"]), **chosen)
    config.pruning.skip = list(skip)
    plan = config.schedule.plan(steps, after_gradients=config.criterion.uses_gradients)
    selection = config.pruning.select(model)
    masks = masks_for(config, plan, selection.prunables)
    masks.check()
    wrapped = adapter.wrap(model, masks)
    return Pruned(wrapped, _callbacks(masks), masks, backend.keras().models.clone_model(model))


def _callbacks(masks: MaskPlan) -> list[Any]:
    from pruneflow.callbacks import MaskUpdates

    return [backend.tfmot().sparsity.keras.UpdatePruningStep(), MaskUpdates(masks)]


def export(
    model: Any,
    path: str | Path | None = None,
    *,
    kind: str = "float",
    encoding: str = "dense",
    examples: npt.NDArray[Any] | None = None,
) -> bytes:
    """Convert a plain Keras model to TFLite with a batch of 1; the file is loaded and run before it is given.

    Args:
        model: A built ``tf_keras.Model`` with one input and one output, such as `Pruned.strip` returns.
        path: Where the file goes; None writes none.
        kind: ``"float"``, ``"dynamic-range"`` or ``"int8"``.
        encoding: ``"dense"``, ``"sparse"`` or ``"auto"``.
        examples: (n, ...) inputs as the model reads them: int8 takes the ranges of activations from them, and
            encodings are compared on them. None takes random ones, but for int8.

    Returns:
        The bytes of the ``.tflite`` file.

    Raises:
        ConfigError: for a kind or an encoding that there is not, and int8 without examples.
        PruneflowError: if the file does not run here.
    """
    from pruneflow.encodings import encode
    from pruneflow.exporters import ENCODINGS, DynamicRange, Export, Float, Int8

    require_one_of("kind", kind, ("float", "dynamic-range", "int8"))
    require_one_of("encoding", encoding, ENCODINGS)
    require(
        kind != "int8" or examples is not None,
        "examples",
        None,
        "int8 reads the ranges of activations from examples",
        "Give some hundred inputs of the training part.",
    )
    _require_model(model)
    data = _examples_of(model, examples)
    how: Export
    if kind == "int8":
        how = Int8(name=kind, encoding=encoding, calibration_samples=len(data.train))
    else:
        how = (Float if kind == "float" else DynamicRange)(name=kind, encoding=encoding)
    content = encode(how, model, data).content
    if path is not None:
        write_file(Path(path), content)
    return content


def _require_model(model: Any) -> None:
    require(
        isinstance(model, backend.keras().Model) and model.built,
        "model",
        type(model).__module__ + "." + type(model).__qualname__,
        "it must be a built tf_keras.Model, of Keras 2, which tfmot works with",
        "Make it with tf_keras, or import pruneflow before TensorFlow and use tf.keras.",
    )


def _examples_of(model: Any, examples: npt.NDArray[Any] | None) -> Data:
    """Inputs as data, which is what conversion and proof take."""
    shape, dtype = tuple(model.input_shape[1:]), np.dtype(model.inputs[0].dtype.as_numpy_dtype)
    tokens = np.issubdtype(dtype, np.integer)
    if examples is None:
        draw = np.random.default_rng(0)
        examples = np.zeros((8, *shape)) if tokens else draw.normal(size=(32, *shape))
    x = np.asarray(examples, np.int32 if tokens else np.float32)
    require(
        x.shape[1:] == shape and len(x) > 0,
        "examples",
        f"an array of {x.shape}",
        f"the model reads {shape}",
        "Give (n, ...) inputs as the model reads them.",
    )
    spec = Spec(kind="tokens" if tokens else "numbers", shape=shape, classes=int(model.output_shape[-1]))
    part = Part(x, np.zeros(len(x), np.int64))
    return Data("examples", spec, part, part, part, source="", note="", digest="")


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """The options as objects, whatever they were given as."""
    for key in given:
        require_one_of("prune(...)", key, GROUPS)
    words = [word for group, value in given.items() for word in _typed(group, value)]
    composed = compose(words)
    return {
        group: getattr(composed, group) if isinstance(value, (str, dict)) else value
        for group, value in given.items()
    }


def _typed(group: str, value: Any) -> list[str]:
    if isinstance(value, str):
        return [f"{group}={value}"]
    if not isinstance(value, dict):
        return []
    settings = dict(value)
    name = settings.pop("name", None)
    keys = [f"{group}.{key}={_spelled(each)}" for key, each in settings.items()]
    return ([f"{group}={name}"] if name else []) + keys


def _spelled(value: Any) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_spelled(key)}:{_spelled(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_spelled, value)) + "]"
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z_][\w./-]*|", value):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return spelled(value) if value != "" else "''"


def _new_folder() -> Path:
    return unused(Path("outputs") / f"{datetime.now():%Y-%m-%d/%H-%M-%S-%f}")


@contextmanager
def _hydra() -> Iterator[None]:
    """Let Hydra compose from our folder, and leave what somebody else has told it as it was."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            prefer_own_yaml()
            yield
    finally:
        GlobalHydra.instance().hydra = before
