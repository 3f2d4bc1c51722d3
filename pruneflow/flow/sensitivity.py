"""The stage that scans a trained network: what each weight costs that is masked alone, without training."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pruneflow.errors import PruneflowError
from pruneflow.flow.config import Config
from pruneflow.flow.networks import FACTS, Network
from pruneflow.flow.prepared import Prepared
from pruneflow.flow.store import Store
from pruneflow.options import require
from pruneflow.runtime import backend
from pruneflow.runtime.files import write_file
from pruneflow.runtime.terminal import bar, say, warn
from pruneflow.runtime.versions import library_versions
from pruneflow.sparsity.distributions import Scanning
from pruneflow.sparsity.masks import Alone, Arrays
from pruneflow.sparsity.sensitivity import SCAN_FILE, Scan, Scanned
from pruneflow.sparsity.shared_weights import variables
from pruneflow.training.gradients import saliencies
from pruneflow.training.scoring import Asked, score

# Raise it in the commit that changes the figures of the same network under the same settings.
SENSITIVITY_VERSION = 2

OF_CUT = "sensitivity-cut.json"
FEW = 100  # examples, below which one of them is more than a point of accuracy


def with_shares(store: Store, config: Config, ready: Prepared, network: Network, run_dir: Path) -> Prepared:
    """Let the distribution read a scan of the network that is about to be pruned, where it wants one.

    Returns:
        What is known before training, with the shares of the scan; ``sensitivity.json`` is in ``run_dir``.

    Raises:
        ConfigError: if units are cut, and no choice of them comes nearer to the share than none.
    """
    if not isinstance(config.distribution, Scanning):
        return ready
    found = scan(store, config, ready, network)
    name = OF_CUT if network.channels else SCAN_FILE
    write_file(run_dir / name, json.dumps(asdict(found), indent=2).encode())
    ready = replace(ready, masks=replace(ready.masks, distribution=config.distribution.after(found)))
    masks = ready.masks
    if config.structure.cuts:  # only now is it known which numbers of units come nearest
        for sentence in masks.check():
            say(f"Note       {sentence}")
    asked = masks.sparsities_after(ready.plan.total_steps)
    shown = ", ".join(f"{name} {share:.3f}" for name, share in asked.items() if share is not None)
    say(f"Shares     by the scan: {shown}")
    return ready


def require_trained(config: Config, ready: Prepared) -> None:
    """Refuse a scan where the dense network is untrained."""
    trained = bool(ready.trainer.dense_epochs) or config.model.starts_trained
    problem = "there is no trained network to scan, since this one is built untrained"
    require(trained, "trainer.dense_epochs", 0, problem, "Take 1 or more, or model=keras_file.")


def scan(store: Store, config: Config, ready: Prepared, network: Network) -> Scan:
    """Measure each weight masked alone to each level, or take it from the store.

    Args:
        network: A trained network; it is read anew, so that this one stays as it is.

    Returns:
        Loss and accuracy of the whole network, and of each weight at each level.

    Raises:
        PruneflowError: if the network answers with NaN or infinity.
    """
    inputs = scan_inputs(config, ready, network=network.stage.digest)
    _warn_of_few(_count(config, ready), config.sensitivity.examples)
    with store.held("sensitivity", inputs) as held:
        if held.missing:
            with held.making() as folder:
                start = time.perf_counter()
                found = _measured(config, ready, network)
                write_file(folder / SCAN_FILE, json.dumps(asdict(found)).encode())
                facts = {"seconds": time.perf_counter() - start}
                write_file(folder / FACTS, json.dumps(facts).encode())
        return Scan.of(json.loads((Path(held.stage.path) / SCAN_FILE).read_bytes()))


def scan_inputs(config: Config, ready: Prepared, *, network: str) -> dict[str, Any]:
    """Everything that the figures depend on, as JSON takes it."""
    criterion = config.criterion
    loss = ready.trainer.pruned_fit(config.seed).loss
    return {
        "version": SENSITIVITY_VERSION,
        "libraries": library_versions("tensorflow", "numpy"),
        "network": network,
        "levels": list(config.sensitivity.levels),
        "examples": _count(config, ready),
        **ready.masks.ranking(),
        **({} if criterion.reads_weights and not criterion.uses_gradients else {"seed": config.seed}),
        **({"loss": loss} if criterion.uses_gradients else {}),
    }


def _warn_of_few(count: int, asked: int) -> None:
    if count < FEW:
        key = "sensitivity.examples" if count == asked else "dataset.validation_fraction"
        warn(
            f"Note       The scan measures each weight on {count} example{'' if count == 1 else 's'} (fewer "
            f"than {FEW}): chance decides which one is sensitive. Raise {key}."
        )


def _count(config: Config, ready: Prepared) -> int:
    return min(config.sensitivity.examples, len(ready.data.validation))


def _measured(config: Config, ready: Prepared, network: Network) -> Scan:
    """Mask one after the other, in place, and measure."""
    backend.keras().backend.clear_session()
    model, data, levels = network.read(), ready.data, tuple(config.sensitivity.levels)
    part = data.validation.sampled(_count(config, ready))
    found = variables(model, [p.name for p in ready.masks.prunables])
    values = {name: variable.numpy() for name, variable in found.items()}
    seen = _gradients(config, ready, model, found)
    asked = Asked(model, part, data.spec)

    loss, accuracy = _figures(asked, part.y, WHOLE)
    alone = list(ready.masks.alone(values, seen))
    with bar("Scanning", total=len(alone) * len(levels)) as advance:
        weights = []
        for each in alone:
            rows = []
            for level in levels:
                share, masks = each.masks(level)
                with _masked(found, values, masks):
                    rows.append((share, *_figures(asked, part.y, _without(each, share))))
                advance(1)
            weights.append(_scanned(each, rows))
    return Scan(asked.task.headline, len(part), loss, accuracy, levels, tuple(weights))


def _scanned(each: Alone, rows: list[tuple[float, float, float]]) -> Scanned:
    sparsities, losses, accuracies = zip(*rows, strict=True)
    return Scanned(each.name, each.size, each.share, sparsities, losses, accuracies)


def _gradients(config: Config, ready: Prepared, model: Any, found: Mapping[str, Any]) -> Arrays | None:
    """Return what a criterion by gradients needs, from as many examples of the training part."""
    if not config.criterion.uses_gradients:
        return None
    part = ready.data.train.sampled(_count(config, ready))
    loss = ready.trainer.pruned_fit(config.seed).loss
    return saliencies(model, part, ready.data.spec, found, loss=loss)


NAN = "the network answers examples of the validation part with NaN or infinity"
WHOLE = (
    f"{NAN[0].upper()}{NAN[1:]}, so that no weight of it can be scanned. Lower trainer.dense_learning_rate, "
    "or take distribution=erk."
)


def _without(each: Alone, share: float) -> str:
    """Return the message where a network answers with NaN once this share of a weight is masked."""
    return (
        f"With {share:.3g} of {each.name} masked, {NAN}: it may divide by what is zero then. Leave the layer "
        "out with pruning.skip, lower sensitivity.levels, or take distribution=erk."
    )


def _figures(asked: Asked, y: Any, problem: str) -> tuple[float, float]:
    """Return loss and accuracy of the network as it is now."""
    with np.errstate(all="ignore"):
        scores = score(asked.task, asked.outcome(), y)
    if not np.isfinite([scores.loss, scores.headline]).all():
        raise PruneflowError(problem)
    return scores.loss, scores.headline


@contextmanager
def _masked(found: Mapping[str, Any], values: Arrays, masks: Mapping[str, Any]) -> Iterator[None]:
    """Mask weights in the block; afterwards they are what they were, to the bit."""
    try:
        for name, kept in masks.items():
            found[name].assign(np.where(kept, values[name], 0).astype(values[name].dtype))
        yield
    finally:
        for name in masks:
            found[name].assign(values[name])
