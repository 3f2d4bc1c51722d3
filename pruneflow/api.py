"""pruneflow as a library: whole runs from a notebook, and pruning and export for a ``fit`` of one's own."""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pruneflow import accepted
from pruneflow.command import answers, targets
from pruneflow.command.folders import require_no_run, require_writable, unused
from pruneflow.command.names import differing
from pruneflow.command.plugins import prefer_own_yaml
from pruneflow.errors import ConfigError, PruneflowError, spelled
from pruneflow.flow.config import Config, from_hydra, masks_for, plain, selected
from pruneflow.flow.judgement import require_worth
from pruneflow.flow.run_folder import FAILURE_FILE, UNFINISHED_FILE, begin, end, overrides_of, record_failure
from pruneflow.models.brought import kinds_of_layers, wrapper_of_tfmot
from pruneflow.models.copies import copied
from pruneflow.options import choices, require, require_one_of
from pruneflow.runtime.device import left_as_found
from pruneflow.runtime.files import config_folder, write_file
from pruneflow.runtime.forks import require_own_tensorflow
from pruneflow.sparsity.then import Zeros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pruneflow.exports.judging import Exported
    from pruneflow.flow.figures import Result
    from pruneflow.sparsity.masked import Masked
    from pruneflow.sparsity.masks import MaskPlan
    from pruneflow.sparsity.schedules import Plan

# Settings that are a mapping with keys of the user's own.
OPEN = ("distribution.layers", "dataset.class_weights", "dataset.arguments", "model.arguments")
MOST_STEPS = 2**31 - 1
GROUPS = ("schedule", "structure", "criterion", "distribution")

# How Hydra, OmegaConf and checks of options fail on values that nobody can type.
_MALFORMED = (ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, OSError)

# Hydra and TensorFlow have one state per process: threads wait for each other.
_COMPOSING, _RUNNING = threading.RLock(), threading.RLock()


def _unlock() -> None:
    """Let a forked process go on; the thread that held a lock is not in it."""
    global _COMPOSING, _RUNNING
    _COMPOSING, _RUNNING = threading.RLock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


def compose(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Config:
    """Compose settings as the command line does, into typed objects that can be read and changed.

    Args:
        overrides: Settings, as typed after ``python -m pruneflow``.
        config_dir: A folder of your own YAML files, as for ``--config-dir``.

    Raises:
        ConfigError: for settings that cannot be used.

    >>> config = compose(["schedule.final_sparsity=0.9"])
    >>> config.schedule.final_sparsity, config.model.name
    (0.9, 'cnn')
    """
    words = accepted.texts("overrides", overrides, "model=cnn")
    of_hydra = [word for word in words if word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    problem = "Hydra's own settings have no effect in the library"
    require(not of_hydra, "overrides", of_hydra, problem, "Leave them out; pruneflow.run takes a folder.")
    if config_dir is not None:
        folder = accepted.existing_folder("config_dir", config_dir)
        words.append(f"hydra.searchpath=[{_quoted(f'file://{folder}')}]")
    with _hydra():
        try:
            composed = hydra.compose("config", words)
            targets.check(composed, {word.lstrip("+").partition("=")[0] for word in words})
            config = from_hydra(composed)
            config.goal.check_typed(words)
            return config
        except answers.REFUSED as error:
            raise ConfigError(answers.in_words(error)) from error
        except _MALFORMED as error:
            raise ConfigError(f"{' '.join(words)[:200]}: {_reason(error)}. Write key=value.") from error


def _reason(error: Exception) -> str:
    return "it is too deep" if isinstance(error, RecursionError) else str(error)[:300].rstrip(".")


def _unchecked(words: Sequence[str]) -> dict[str, Any]:
    """Compose words to nested dictionaries before options check them: some have to be completed."""
    with _hydra():
        found = OmegaConf.to_container(hydra.compose("config", list(words)), resolve=True)
    return found if isinstance(found, dict) else {}  # type: ignore[return-value]


def run(
    settings: Sequence[str] | Config = (), *, folder: str | Path | None = None, report: bool | None = None
) -> Result:
    """Load, train dense, prune, export and evaluate, as ``python -m pruneflow`` does in one run.

    Finished stages are reused. Training that was cut off goes on from its last checkpoint.
    The working folder and logging are not changed. The precision of Keras and the random numbers of Python
    and NumPy are restored afterwards. Runs in several threads go one after the other.

    Args:
        settings: Settings, as typed after ``python -m pruneflow``, or the result of `compose`.
        folder: The run folder: a new one, that of a failed run, or that of the same run, cut off. None makes
            one below ``outputs/``, named after the time.
        report: Whether to write ``report.html``; None follows the settings.

    Returns:
        The result, as in ``result.json`` of the folder.

    Raises:
        ConfigError: for settings that cannot be used. Nothing is written.
        WreckError: if pruning left a network that guesses, or cost more than ``pruning.max_accuracy_drop``.
            Everything is written.
        PruneflowError: if the run fails.
    """
    require_own_tensorflow("run")
    if not isinstance(settings, Config):
        settings = accepted.texts("settings", settings, "model=cnn")
    place = None if folder is None else accepted.run_folder("folder", folder)
    problem = "allowed are True, False, None"
    require(
        report is None or isinstance(report, bool), "report", report, problem, "None takes the settings'."
    )
    with _RUNNING:
        return _run(settings, place, report)


def _run(settings: Sequence[str] | Config, folder: Path | None, report: bool | None) -> Result:
    from pruneflow.flow import prepare

    prepare.forget()  # files and functions may have changed since the last run of this process
    config, words = _checked(settings)
    place = _new_folder() if folder is None else folder
    if not _goes_on(place, words):
        require_no_run(place, "folder")
    require_writable(place)
    problem = "a search for one file is many runs"
    remedy = f"Type python -m pruneflow goal={config.goal.option_name} in a shell, or leave goal out."
    require(not config.goal.searches, "goal", config.goal.option_name, problem, remedy)
    problem, remedy = "workers are processes of the command line", "Type python -m pruneflow in each."
    config.device.require_one_process(problem, remedy)
    with left_as_found():
        return _carried_out(config, words, place, report=config.report if report is None else report)


def _carried_out(config: Config, words: list[str], place: Path, *, report: bool) -> Result:
    from pruneflow.flow import pipeline
    from pruneflow.report import hparams
    from pruneflow.report.logged import logged

    ready = pipeline.prepare(config)
    _begin(place, config, words)
    command = shlex.join(["python", "-m", "pruneflow", *words])
    with logged(config.logger, place):
        try:
            result = pipeline.run(config, ready, place, command=command)
            hparams.write(place, differing(words, []))
            if report:
                from pruneflow.report.automatic import report_run

                report_run(place)
            end(place)
        except Exception as error:
            with suppress(PruneflowError):  # such as the same full disk
                record_failure(place, answers.failure_in_words(error) or f"{type(error).__name__}: {error}")
            raise
    require_worth(result.judgement)
    return result


def _goes_on(place: Path, words: Sequence[str]) -> bool:
    """Return whether a folder holds a run that failed, or the same run, cut off."""
    before = overrides_of(place)
    same = (place / UNFINISHED_FILE).is_file() and before == list(words)
    return same or (before is not None and (place / FAILURE_FILE).is_file())


def _checked(settings: Sequence[str] | Config) -> tuple[Config, list[str]]:
    """The settings as objects, checked again where they may have been changed, and the words for them."""
    if not isinstance(settings, Config):
        return compose(settings), list(settings)
    config = _rechecked(settings)
    return config, _words_of(config)


def _rechecked(settings: Config) -> Config:
    """The same settings; a value may have been changed since they were composed."""
    try:
        return from_hydra(OmegaConf.structured(settings))
    except OmegaConfBaseException as error:
        raise ConfigError(answers.of_object(settings, error)) from error
    except _MALFORMED as error:
        raise ConfigError(f"A setting has a value that it cannot take: {_reason(error)}.") from error


def _words_of(config: Config) -> list[str]:
    wanted = plain(config)
    groups = [
        f"{group}={_word_of(getattr(config, group))}"
        for group in wanted
        if getattr(getattr(config, group), "option_name", None) in choices(group)
    ]
    usual = plain(compose())
    chosen = [word for word in groups if word.partition("=")[2] != _option(usual, word)]
    before, after = (_leaves(values) for values in (_unchecked(chosen), wanted))
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
    return chosen + [f"{key}={spelled(value, _quoted)}" for key, value in changed.items()]


def _word_of(option: Any) -> str:
    """Return the word by which an option is chosen; a second phase is chosen by its structure."""
    return str(option.structure.option_name if isinstance(option, Zeros) else option.option_name)


def _option(usual: dict[str, Any], word: str) -> str:
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
    begin(place)
    (place / FAILURE_FILE).unlink(missing_ok=True)
    write_file(place / ".hydra" / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain(config))).encode())
    write_file(place / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(list(words))).encode())


@dataclass(frozen=True)
class Pruned:
    """A model that is pruned while it is trained.

    Attributes:
        model: The model to compile and fit: the given one, or its copy with ``copy=True``.
        callbacks: Callbacks for its ``fit``, to be put before others.
        plan: The steps at which masks change, and the sparsity of each weight.
        not_pruned: Name of each layer that stays dense, and the reason.
        notes: What the options lead to for this model, such as the share that can be reached.
    """

    model: Any
    callbacks: list[Any]
    plan: MaskPlan
    not_pruned: dict[str, str]
    notes: list[str]
    _masked: Masked

    def step(self) -> None:
        """Begin a training step of a loop of one's own; call it once before each, outside of ``tf.function``.

        It changes the masks where the plan says so, and multiplies the weights by them. ``fit`` with
        ``callbacks`` does both itself.

        Raises:
            ConfigError: if the criterion uses gradients, and the model has no optimizer to see them in.
        """
        if self.plan.criterion.uses_gradients:
            name, has = self.plan.criterion.option_name, getattr(self.model, "optimizer", None) is not None
            problem = "it reads gradients from the optimizer of the model, which has none"
            require(
                has, "criterion", name, problem, "Call model.compile(...) first, and use model.optimizer."
            )
            self._masked.observe_gradients()
        self._masked.begin_step()
        self._masked.apply()

    def strip(self, *, check: bool = True) -> Any:
        """Take the masks off: the trained model with zeros; with ``structure="channel"`` a smaller model,
        which is to be compiled where it is trained or evaluated further.

        Args:
            check: Whether the zeros must be those that the schedule asks for; False takes what there is, as
                after training that stopped early.

        Raises:
            SparsityNotReachedError: if the zeros miss the request. The masks stay on.
            PruneflowError: if the smaller model gives other outputs than the masked one.
        """
        require_own_tensorflow("strip")
        if check:
            self._masked.require_target()
        masks = self._masked.masks()
        stripped = self._masked.strip()
        finished = self.plan.finished(stripped, masks)
        if finished is not stripped:
            self.plan.require_same(_twin(stripped), _twin(finished))
        return finished


def prune(  # noqa: PLR0913 - settings of one pruning, by name
    model: Any,
    *,
    steps: int | None = None,
    examples: Any = None,
    skip: str | Sequence[str] = (),
    copy: bool = False,
    seed: int = 0,
    **options: Any,
) -> Pruned:
    """Prune a model of your own, in a ``fit`` or a loop of your own.

    Masks act on the variables, at the start of each training step. No layer is copied, wrapped or renamed.

    Args:
        model: A built model of Keras 2 or of Keras 3 on TensorFlow, trained or not: functional, sequential or
            subclassed.
        steps: Number of training steps: batches per epoch times epochs. 0 prunes at once.
        examples: (n, ...) inputs for ``model.predict``, some hundred. The model is pruned at once. The kept
            weights are fitted to its outputs on the examples, layer by layer, in place of training.
            ``fit`` with the callbacks may follow; the masks stay.
        skip: One pattern or several, on names of layers that stay dense.
        copy: Whether to prune a copy with the same outputs, and not ``model`` itself.
        seed: Seed of random choices, such as ``criterion="random"``.
        options: ``schedule``, ``structure``, ``criterion``, ``distribution``: each the name of an option, a
            dictionary ``{"name": ..., key: value}``, or an object from `compose`.

    Raises:
        ConfigError: for options that do not fit each other, the steps or the model; a model that cannot be
            copied, with ``copy``; examples that the model cannot read.
    """
    require_own_tensorflow("prune")
    accepted.built_model(model)
    if wrapped := wrapper_of_tfmot(kinds_of_layers(model)):
        raise ConfigError.of("model", model.name, *wrapped)
    steps = _steps(steps, examples)
    seed = accepted.whole("seed", seed, 0, 2**32 - 1, "Any of them will do.")
    patterns = [skip] if isinstance(skip, str) else accepted.texts("skip", skip, "dense*")
    config = _composed(options, seed, trains=steps != 0)
    config.pruning.skip = patterns
    problem = "it needs a scan of the trained network on validation examples, which prune has not"
    remedy = (
        "Take python -m pruneflow distribution=sensitivity, or give shares as distribution={'layers': ...}."
    )
    scans = config.distribution.scans
    require(not scans, "distribution", config.distribution.option_name, problem, remedy)
    problem, remedy = "it is another network than yours, which python -m pruneflow trains", "Take magnitude."
    require(not config.criterion.narrows, "criterion", config.criterion.option_name, problem, remedy)
    config.pruning.reconstruct = examples is not None
    config.pruning.check_training(
        0 if steps == 0 else None,
        structure=config.structure,
        criterion=config.criterion,
        distribution=config.distribution,
    )
    batches = None if examples is None else accepted.batches_for(model, examples)
    plan = (
        config.schedule.plan(steps, after_gradients=config.criterion.uses_gradients)
        if steps
        else config.schedule.at_once()
    )
    pruned = _under_masks(copied(model) if copy else model, config, plan)
    if not steps:
        _at_once(pruned, batches)
    return pruned


def _steps(steps: Any, examples: Any) -> int:
    """Return the steps of training, 0 where examples take its place."""
    problem, remedy = "examples take the place of training", "Leave out one of them."
    none = steps is None or (isinstance(steps, int) and steps == 0)
    require(examples is None or none, "steps", steps, problem, remedy)
    remedy = "Count the batches of all epochs; 0 prunes at once."
    return accepted.whole("steps", 0 if examples is not None else steps, 0, MOST_STEPS, remedy)


def _under_masks(model: Any, config: Config, plan: Plan) -> Pruned:
    from pruneflow.sparsity.masked import mask_in_place
    from pruneflow.sparsity.reconstruction import notes
    from pruneflow.training.callbacks import pruning_callbacks

    selection = selected(config, model)
    masks = masks_for(config, plan, selection)
    said = [*masks.check(), *(notes(model, selection.prunables) if config.pruning.reconstruct else [])]
    masked = mask_in_place(model, masks)
    return Pruned(model, pruning_callbacks(masked), masks, selection.left, said, masked)


def _at_once(pruned: Pruned, batches: Sequence[Any] | None) -> None:
    """Make the one update of the plan; fit what is kept where there are examples.

    A failure, Ctrl-C among them, leaves the model as it was.
    """
    from pruneflow.sparsity.reconstruction import reconstruct

    masked = pruned._masked
    dense = [each.weight.numpy() for each in masked.weights]
    try:
        if batches is None:
            pruned.step()
        else:
            pruned.notes.extend(reconstruct(masked, batches))
    except BaseException:
        for each, values in zip(masked.weights, dense, strict=True):
            each.weight.assign(values)
        masked.detach()
        raise


@left_as_found()
def export(  # noqa: PLR0913 - settings of one file, by name
    model: Any,
    path: str | Path | None = None,
    *,
    kind: str = "float",
    encoding: str = "dense",
    examples: Any = None,
    tolerance: float = 0.05,
) -> Exported:
    """Convert a Keras model to TFLite with a batch of 1; run the file, and compare it with the model.

    A file of several inputs or outputs has them by name in its signature ``serving_default``: names of Keras
    inputs and output layers, or keys of dictionaries.

    Args:
        model: A built model of Keras 2, or of Keras 3 if its layers have equals in Keras 2; a subclassed
            one of Keras 2 was called once.
        path: The file to write; None writes none.
        kind: ``"float"``, ``"float16"``, ``"dynamic-range"``, ``"int8"``, ``"int16x8"`` or ``"int4"``, which
            needs the extra ``pruneflow[int4]``.
        encoding: ``"dense"``, ``"sparse"`` or ``"auto"``.
        examples: (n, ...) inputs for ``model.predict``: an array, or a list or dictionary of arrays.
            int8 and int16x8 take the ranges of activations from them. The file is compared with Keras on up
            to 1,000 of them. None draws random ids for an embedding, and random numbers otherwise. int8 and
            int16x8 need examples. So does a model that reads any size; the file reads that of the examples.
        tolerance: Share of answers that a quantized file may get wrong, [0, 1]. An answer is an example, or
            one position of an output that has several. It is wrong where it is off by more than a tenth of
            the output's range, or names another unit though the right one leads by more than a fiftieth.
            The range contains 0; that of a softmax or sigmoid is 1.

    Returns:
        The bytes of the ``.tflite`` file, with ``max_difference`` and ``agreement`` as measured.

    Raises:
        ConfigError: for a kind or an encoding that there is not, an extra that is not installed, int8 or
            int16x8 without examples, a model whose inputs are not known, NaN or infinity in it or in
            examples, and a path of another file.
        PruneflowError: if the model cannot be converted, the file does not run here, a float file differs
            from Keras beyond rounding, or a quantized one by more than ``tolerance``.
    """
    from pruneflow.exports import library
    from pruneflow.exports.base import ENCODINGS
    from pruneflow.exports.signatures import signature_of

    require_own_tensorflow("export")
    require_one_of("kind", kind, library.KINDS)
    require_one_of("encoding", encoding, ENCODINGS)
    problem = f"{kind} reads the ranges of activations from examples"
    remedy = "Give some hundred inputs of the training part."
    require(kind not in library.CALIBRATED or examples is not None, "examples", None, problem, remedy)
    tolerance = accepted.share("tolerance", tolerance, "0.05 allows one wrong answer in twenty.")
    wanted = library.Wanted(kind, encoding, tolerance)
    wanted.check()
    accepted.built_model(model)
    place = None if path is None else accepted.new_file("path", path)
    signature = signature_of(model := _in_keras_2(model))
    given = None if examples is None else accepted.examples_of(signature, examples)
    content = library.exported(model, signature, given, wanted)
    if place is not None:
        write_file(place, content)
    return content


def _twin(model: Any) -> Any:
    """Return a network of Keras 2 as it is, and what one of Keras 3 is converted to, outputs compared."""
    from pruneflow.models import keras3

    return keras3.converted(model).model if keras3.is_keras_3(model) else model


def _in_keras_2(model: Any) -> Any:
    """The same model, or what one of Keras 3 is converted to: TFLite files of Keras 2 have fused layers."""
    from pruneflow.models import keras3
    from pruneflow.runtime.terminal import console

    if not keras3.is_keras_3(model):
        return model
    both = keras3.converted(model)
    console.print(keras3.said(both.difference))
    return both.model


def _composed(options: dict[str, Any], seed: int, *, trains: bool) -> Config:
    """Settings with these options, whatever they were given as."""
    for key in options:
        require_one_of("prune(...)", key, GROUPS)
    try:
        words = [word for group, value in options.items() for word in _typed(group, value)]
    except (RuntimeError, ValueError) as error:  # an object that has no text
        raise ConfigError(f"{', '.join(options)}: {_reason(error)}. Write key: value.") from error
    at_once = [] if trains else ["trainer.epochs=0"]
    objects = {group: value for group, value in options.items() if not isinstance(value, (str, dict))}
    return _rechecked(replace(compose([f"seed={seed}", *at_once, *words]), **objects))


def _typed(group: str, value: Any) -> list[str]:
    if isinstance(value, str):
        require(value != "", group, "''", f"allowed are {', '.join(choices(group))}", "Pick one of these.")
        return [f"{group}={value}"]
    if not isinstance(value, dict):
        return []
    settings = dict(value)
    name = settings.pop("name", None)
    keys = [f"{group}.{key}={spelled(each, _quoted)}" for key, each in settings.items()]
    return ([f"{group}={name}"] if name else []) + keys


def _quoted(text: str) -> str:
    if re.fullmatch(r"[A-Za-z_][\w./-]*", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _new_folder() -> Path:
    return unused(Path("outputs") / f"{datetime.now():%Y-%m-%d/%H-%M-%S-%f}")


@contextmanager
def _hydra() -> Iterator[None]:
    """Let Hydra compose from our folder, and leave what somebody else has told it as it was."""
    with _COMPOSING:
        before = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
                prefer_own_yaml()
                yield
        finally:
            GlobalHydra.instance().hydra = before
