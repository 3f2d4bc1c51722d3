"""The stages that train: a dense baseline, and the pruned copy of it."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from pruneflow.datasets.spec import Part
from pruneflow.exports.sizes import Size, size_of
from pruneflow.flow import at_once
from pruneflow.flow.agreement import require_agreement, rounding_of_cut
from pruneflow.flow.config import Config
from pruneflow.flow.figures import PhaseCost
from pruneflow.flow.manifests import SCRATCH
from pruneflow.flow.prepared import Prepared
from pruneflow.flow.store import Stage, Store
from pruneflow.models.keras3 import written_back
from pruneflow.models.tasks import task_of
from pruneflow.runtime import backend
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import fitted
from pruneflow.runtime.surroundings import arithmetic
from pruneflow.runtime.terminal import say
from pruneflow.runtime.versions import library_versions
from pruneflow.sparsity import tfmot_engine
from pruneflow.sparsity.masked import Masked, mask_in_place
from pruneflow.sparsity.measure import WeightSparsity, total_sparsity
from pruneflow.training.events import pack, remove, unpack
from pruneflow.training.fit import Journal, Phase
from pruneflow.training.scoring import FloatArray, keras_outcome

# Raise one of these in the commit that changes the weights which the same settings give: the stage gets
# another digest, and nothing that an older version trained is taken for it. A change of the dense stage is a
# change of the pruned stage too, which has the dense digest among its inputs.
DENSE_VERSION = 1
PRUNED_VERSION = 5

NETWORK, MASKS, WRAPPED, EVENTS, FACTS, CHECKPOINT = (
    "network.h5",
    "masks.npz",
    "wrapped.npz",
    "events.zip",
    "facts.json",
    f"{SCRATCH}/checkpoint.zip",
)


SHAPE = ":shape"  # ends the name of the array that holds a mask's shape
EVALUATING = "Evaluating under masks, test"


@dataclass(frozen=True)
class Network:
    """A trained network of a run.

    Attributes:
        trained: Whether it was trained, here or before it came, or holds initial weights.
        cost: What its training took, when it was done.
        requested_sparsity: Of the pruned weights together, what was asked for; 0 for a dense network.
        measured_sparsity: The same, as measured.
        layers: Zeros of the pruned weights, as counted; empty for a dense network.
        not_pruned: Name of each layer that was left, and why; empty for a dense network.
        build: Builds an untrained network of the same shape.
        original: Builds the same of the network of Keras 3 that came; None where it came as Keras 2.
        masks: Mask of every pruned weight, by ``layer/weight``; 1 = kept. Empty for a dense network.
        wrapped: Its outputs on the test part under its masks, as `Task.outcome` gives
            it, (n, ...); None for a dense network.
        channels: What was cut out of it, as `MaskPlan.described` says; None where nothing was.
        shared: What its weights share, where they do: ``values``, ``epochs``, and ``weights`` as counted.
        before: The pruned network that a later stage took; None where none did.
        form: Name of the stage that made it, if one came after pruning, or ``"pruned"``.
        fake_quantized: Reads it as it was trained for int8, with its ranges; None where it was not.
        aware_epochs: Epochs of that.
    """

    stage: Stage
    file: Path
    size: Size
    trained: bool
    cost: PhaseCost
    parameters: int
    requested_sparsity: float
    measured_sparsity: float
    layers: list[WeightSparsity]
    not_pruned: dict[str, str]
    build: Callable[[], Any]
    original: Callable[[], Any]
    masks: Mapping[str, Any] = field(default_factory=dict, repr=False)
    wrapped: FloatArray | None = field(default=None, repr=False)
    channels: dict[str, Any] | None = None
    shared: dict[str, Any] | None = None
    before: Network | None = None
    form: str = "pruned"
    fake_quantized: Callable[[], Any] | None = None
    aware_epochs: int = 0

    @property
    def unchanged(self) -> Network | None:
        """The pruned network before all later stages; None where there are none."""
        return (self.before.unchanged or self.before) if self.before else None

    @cached_property
    def as_trained(self) -> Any:
        """The network as Keras runs it: rounding as int8 does where it was trained so."""
        return self.fake_quantized() if self.fake_quantized else self.model

    @cached_property
    def model(self) -> Any:
        """The network, plain and in float32: a ``tf_keras.Model``, read when it is first asked for."""
        return self.read()

    def read(self) -> Any:
        """Read the network anew, plain and in float32, for one who changes it."""
        with backend.float32():
            model = self.build()
        model.load_weights(self.file)
        return model


@dataclass(frozen=True)
class Networks:
    """The networks of a run.

    Attributes:
        pruned: The one that is delivered.
        cut: The one before it that was cut, where zeros came after.
    """

    dense: Network
    pruned: Network
    cut: Network | None = None

    @property
    def named(self) -> dict[str, Network]:
        """All of them, in the order in which they were made."""
        return {"dense": self.dense, **({"cut": self.cut} if self.cut else {}), "pruned": self.pruned}

    @property
    def made(self) -> dict[str, Network]:
        """The same, and the pruned one before and after each later stage."""
        after, network = dict[str, Network](), self.pruned
        while network.before:
            after, network = {network.form: network, **after}, network.before
        return {**self.named, "pruned": network, **after}


def dense_inputs(config: Config, ready: Prepared) -> dict[str, Any]:
    """Everything that the weights of the dense network depend on, as JSON takes it."""
    return {
        "version": DENSE_VERSION,
        "libraries": library_versions("tensorflow", "tf_keras", "numpy"),
        "device": _arithmetic(ready.device),
        "data": ready.data.digest,
        **_weights(ready.data.train),
        "spec": {key: value for key, value in asdict(ready.data.spec).items() if value is not None},
        "model": config.network(ready.data.spec).identity(ready.data.spec),
        "seed": config.seed,
        "fit": ready.trainer.dense_fit(config.seed, config.augmentation).inputs,
    }


def pruned_inputs(config: Config, ready: Prepared, *, dense: str, phase: int = 1) -> dict[str, Any]:
    """Everything that the weights of the pruned network depend on, as JSON takes it.

    Args:
        dense: Digest of the network that is pruned: the dense one, or the one that was cut.
        phase: 1, or 2 for the zeros after the cut.
    """
    shown = config.tensorboard.inputs  # left out where it is empty, so that such stages keep their digest
    return {
        "version": PRUNED_VERSION,
        "libraries": library_versions("tensorflow-model-optimization"),
        "dense": dense,
        "engine": config.pruning.engine,
        "masks": ready.masks.inputs(),
        "steps": ready.plan.total_steps,
        "fit": ready.trainer.pruned_fit(config.seed, config.augmentation, phase=phase).inputs,
        **({"tensorboard": shown} if shown and ready.trainer.epochs else {}),
        **at_once.inputs(config, ready.data),
    }


def dense_network(store: Store, config: Config, ready: Prepared, run_dir: Path) -> Network:
    """Train the baseline, or take it from the store; without dense epochs it keeps its first weights.

    Returns:
        The network; ``dense.h5`` and, where it was trained, ``dense/`` with its curves are in ``run_dir``.
    """
    fit = ready.trainer.dense_fit(config.seed, config.augmentation)
    chosen, spec = config.network(ready.data.spec), ready.data.spec
    trained = bool(fit.epochs) or chosen.starts_trained
    with store.held("dense", dense_inputs(config, ready)) as held:
        if held.missing:
            with held.making() as folder:
                backend.keras().backend.clear_session()
                backend.set_seed(config.seed)
                again = partial(chosen.build, spec)
                model = again()
                facts: dict[str, Any] = {"trained": trained, "seconds": 0.0, "examples_per_second": None}
                if fit.epochs:
                    files = journal(config, folder, run_dir / "dense")
                    phase = fit.run(model, ready.data, files, again=again)
                    facts |= cost_of(phase)
                with backend.float32():  # exports start from float32, whatever the precision of training
                    plain_model = chosen.build(spec)
                plain_model.set_weights(model.get_weights())
                keep(plain_model, facts, folder, events=run_dir / "dense")
                del model, plain_model
        facts = deliver(held.stage, run_dir, "dense")
    say_where_from(held.stage, "dense")
    build, original = (partial(each, spec) for each in (chosen.build, chosen.original))
    return _network(held.stage, facts, run_dir / "dense.h5", build, original)


def pruned_network(store: Store, config: Config, ready: Prepared, before: Network, run_dir: Path) -> Network:
    """Prune a copy of a network, or take it from the store; its zeros are counted before it is kept.

    Args:
        config: The settings of this phase.
        ready: Data, plan and layers of this phase, and whether another one comes.
        before: The dense network, or the one that an earlier phase has cut.

    Returns:
        The stripped network; ``pruned.h5``, ``masks.npz`` and ``pruned/`` with its curves are in ``run_dir``,
        or ``cut.h5`` and so on where another phase comes.

    Raises:
        SparsityNotReachedError: if the zeros miss the request.
    """
    phase, name = 2 if before.channels else 1, "cut" if ready.then else "pruned"
    fit = replace(ready.trainer.pruned_fit(config.seed, config.augmentation, phase=phase), name=name)
    with store.held("pruned", pruned_inputs(config, ready, dense=before.stage.digest, phase=phase)) as held:
        if held.missing:
            with held.making() as folder:
                masked = _masked(config, ready, before, phase)
                files = journal(config, folder, run_dir / name)
                done = (
                    fit.run(masked.model, ready.data, files, masked, again=before.build)
                    if fit.epochs
                    else at_once.prune_at_once(config, ready.data, masked)
                )
                facts = {"trained": True, **cost_of(done), **_sparsity(masked, config)}
                _keep_masked(masked, ready, folder)
                finished = _finished(before, ready, masked)
                keep(finished, facts, folder, events=run_dir / name)
                del masked, finished
        facts = _deliver_pruned(held.stage, run_dir, name)
    masks, decided = facts["masks"], ready.masks
    network = _network(
        held.stage,
        {**facts, "masks": decided.finished_masks(masks), "not_pruned": ready.selection.left},
        run_dir / f"{name}.h5",
        lambda: decided.finished(before.build(), masks),
        lambda: (original := before.original()) and decided.resized(original, masks),
    )
    if original := network.original():
        written_back(network.model.get_weights(), original, run_dir / f"{name}.keras")
    say_where_from(held.stage, name)
    return network


def _finished(before: Network, ready: Prepared, masked: Masked) -> Any:
    """Take the masks off, and cut out what the structure removes, which is proved on the whole test part."""
    masks, spec = masked.masks(), ready.data.spec
    with backend.float32():
        stripped = before.build()
    stripped.set_weights(masked.strip().get_weights())
    with backend.float32():
        finished = ready.masks.finished(stripped, masks)
    if finished is not stripped:
        with backend.whole_float32():
            one, other = (
                keras_outcome(each, ready.data.test, spec, description=f"Proving the cut, {what}")
                for what, each in (("masked", stripped), ("cut", finished))
            )
        forms = "The network under masks and the one that it was cut to"
        require_agreement(forms, (one, other), task_of(finished, spec), rounding_of_cut(ready.device))
    return finished


def _masked(config: Config, ready: Prepared, before: Network, phase: int) -> Masked:
    """The network of before under masks; nothing else of it stays in memory while it is trained."""
    backend.keras().backend.clear_session()
    backend.set_seed(config.seed, phase)  # dropout draws from generators that are made with the layers
    start = before.build()
    start.load_weights(before.file)
    if config.pruning.engine != "tfmot":
        return mask_in_place(start, ready.masks)
    backend.set_seed(config.seed, phase)
    return tfmot_engine.wrap(start, ready.masks)


def _sparsity(masked: Masked, config: Config) -> dict[str, Any]:
    """Count the zeros of the trained network, and refuse it where they miss the request."""
    layers = masked.require_target(slack=config.pruning.engine == "tfmot")
    requested = masked.plan.requested_sparsity(masked.plan.plan.total_steps)
    found = {"layers": [asdict(layer) for layer in layers], "requested_sparsity": requested}
    return {**found, "channels": masked.described()}


def _keep_masked(masked: Masked, ready: Prepared, folder: Path) -> None:
    """Write the masks, and what the network says on the test part under them."""
    write_file(folder / MASKS, _packed(masked.masks()))
    outputs = keras_outcome(masked.model, ready.data.test, ready.data.spec, description=EVALUATING)
    write_file(folder / WRAPPED, _compressed({"outcome": outputs}))


def cost_of(phase: Phase) -> dict[str, Any]:
    """Return what a stage keeps of the cost of its training."""
    return {"seconds": phase.seconds, "examples_per_second": phase.examples_per_second}


def say_where_from(stage: Stage, name: str) -> None:
    """Print that a network was reused, where it was."""
    if stage.reused:
        say(f"Reused     {name} network, trained before: {stage.path}")


def _weights(train: Part) -> dict[str, Any]:
    """Return the digest of the weights of training examples; nothing where there are none."""
    return {} if train.weights is None else {"weights": sha256(train.weights.tobytes()).hexdigest()}


def _arithmetic(device: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a device that change bits."""
    keys = ["kind", "precision", "threads", "inter_op_threads"]
    found = {key: device[key] for key in (*keys, *(["name"] if device["kind"] == "gpu" else []))}
    found |= {key: device[key] for key in ("strategy", "replicas", "workers") if key in device}
    variables = arithmetic()  # left out where it is empty, so that such stages keep their digest
    return {**found, "onednn": "1", **({"environment": variables} if variables else {})}


def journal(config: Config, folder: Path, events: Path) -> Journal:
    """Return the files that a phase of training writes: its checkpoint in the folder of the stage."""
    remove(events)  # what a killed run left; the checkpoint has its own copy
    return Journal(events, folder / CHECKPOINT, config.stages.checkpoint_seconds, config.tensorboard)


def keep(model: Any, facts: dict[str, Any], folder: Path, *, events: Path) -> None:
    """Write what a trained network is into the folder of its stage."""
    content = _h5(model)
    write_file(folder / NETWORK, content)
    write_file(folder / EVENTS, pack(events))
    facts = {**facts, "size": asdict(size_of(content)), "parameters": int(model.count_params())}
    write_file(folder / FACTS, json.dumps(facts).encode())


def deliver(stage: Stage, run_dir: Path, name: str) -> dict[str, Any]:
    """Copy a network and its curves from the store into the folder of the run."""
    folder = Path(stage.path)
    write_file(run_dir / f"{name}.h5", (folder / NETWORK).read_bytes())
    if stage.reused:
        unpack((folder / EVENTS).read_bytes(), run_dir / name)
    facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
    return facts


def _deliver_pruned(stage: Stage, run_dir: Path, name: str) -> dict[str, Any]:
    """The same for a pruned network, with its masks and what it gave before it was stripped."""
    folder = Path(stage.path)
    with np.load(folder / WRAPPED, allow_pickle=False) as arrays:
        outcome = arrays["outcome"]
    masks = _unpacked(folder / MASKS)
    kept = {name: mask.astype(bool) for name, mask in masks.items()}
    write_file(run_dir / MASKS, _compressed(kept))
    return {**deliver(stage, run_dir, name), "masks": masks, "wrapped": outcome}


def _network(
    stage: Stage,
    facts: dict[str, Any],
    file: Path,
    build: Callable[[], Any],
    original: Callable[[], Any],
) -> Network:
    layers: list[WeightSparsity] = fitted(facts.get("layers", []), list[WeightSparsity])
    channels = facts.get("channels")
    return Network(
        stage=stage,
        file=file,
        size=Size(**facts["size"]),
        trained=facts["trained"],
        cost=PhaseCost(facts["seconds"], facts["examples_per_second"]),
        parameters=facts["parameters"],
        requested_sparsity=facts.get("requested_sparsity", 0.0),
        measured_sparsity=channels["removed"] if channels else total_sparsity(layers),
        layers=layers,
        not_pruned=facts.get("not_pruned", {}),
        build=build,
        original=original,
        masks=facts.get("masks", {}),
        wrapped=facts.get("wrapped"),
        channels=channels,
    )


def later(before: Network, stage: Stage, facts: dict[str, Any], run_dir: Path, name: str) -> Network:
    """Return the network that a later stage made of ``before``, also as a file of Keras 3 if it came so."""
    network = replace(
        before,
        stage=stage,
        file=run_dir / f"{name}.h5",
        size=Size(**facts["size"]),
        cost=PhaseCost(facts["seconds"], facts["examples_per_second"]),
        before=before,
        form=name,
    )
    if original := before.original():
        written_back(network.model.get_weights(), original, run_dir / f"{name}.keras")
    return network


def _h5(model: Any) -> bytes:
    """The bytes of ``model`` saved as the guide does, without the optimizer; loads without pruneflow."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 2 calls its own .h5 format legacy
        file = Path(folder) / NETWORK
        try:
            model.save(file, include_optimizer=False)
        except (NotImplementedError, TypeError):  # of a layer without get_config: its weights alone are kept
            file.unlink(missing_ok=True)
            model.save_weights(file)
        return file.read_bytes()


def _packed(masks: Mapping[str, Any]) -> bytes:
    """Masks as bits: ``<layer>/<weight>`` packed along the flattened weight, beside its shape."""
    arrays: dict[str, Any] = {}
    for name, mask in masks.items():
        arrays[name] = np.packbits(mask.astype(bool).ravel())
        arrays[f"{name}{SHAPE}"] = np.asarray(mask.shape, np.int64)
    return _compressed(arrays)


def _unpacked(file: Path) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as arrays:
        shapes = {
            name.removesuffix(SHAPE): tuple(arrays[name]) for name in arrays.files if name.endswith(SHAPE)
        }
        return {
            name: np.unpackbits(arrays[name], count=int(np.prod(shape))).reshape(shape)
            for name, shape in shapes.items()
        }


def _compressed(arrays: Mapping[str, Any]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()
