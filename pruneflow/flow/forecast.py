"""The trainings that a command would make: which are in the store, and how long the others may take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from pruneflow.flow import second_phase
from pruneflow.flow.config import Config
from pruneflow.flow.manifests import MANIFEST, digest_of, is_stated
from pruneflow.flow.networks import FACTS, dense_inputs, pruned_inputs
from pruneflow.flow.prepared import Prepared
from pruneflow.flow.quantization_aware import aware_inputs
from pruneflow.flow.sensitivity import scan_inputs
from pruneflow.flow.sharing import shared_inputs
from pruneflow.flow.store import Store
from pruneflow.sparsity.distributions import Scanning
from pruneflow.sparsity.sensitivity import SCAN_FILE, Scan

__all__ = ["Record", "Training", "distinct", "trainings"]


@dataclass(frozen=True)
class Training:
    """A training of a run.

    Attributes:
        name: Dense, pruned, zeros after the cut, shared, or quantization_aware.
        digest: Of its stage.
        stored: Whether the store has it.
        seconds: What it may take; 0 where the store has it, None where no similar one is there.
    """

    name: str
    digest: str
    stored: bool
    seconds: float | None


class Record:
    """Examples per second of the trainings in a store, by the network that was trained."""

    def __init__(self, store: Store) -> None:
        self._folder, self._reuse = store.folder, store.reuse
        self._speeds: dict[str, list[float]] = {}
        networks = {place.name: _network_of(_inputs(place)) for place in self._places("dense")}
        for name in ("dense", "pruned"):
            for place in self._places(name):
                dense = place.name if name == "dense" else str(_inputs(place).get("dense"))
                speed = _read(place / FACTS).get("examples_per_second")
                if speed and dense in networks:
                    self._speeds.setdefault(networks[dense], []).append(speed)

    def has(self, kind: str, digest: str) -> bool:
        """Return whether a stage is there; its bytes are verified when it is used."""
        return self._reuse and is_stated(self._folder / kind / digest)

    def seconds(self, dense: dict[str, Any], examples: int) -> float | None:
        """Return the seconds for so many examples of a network; None where none like it was trained.

        Args:
            dense: Inputs of the stage of the dense network.
            examples: Examples times epochs.
        """
        speeds = self._speeds.get(_network_of(dense))
        return examples / median(speeds) if speeds else None

    def scan(self, digest: str) -> Scan | None:
        """Return a scan of a network; None where it is not there."""
        found = _read(self._folder / "sensitivity" / digest / SCAN_FILE)
        return Scan.of(found) if found and self.has("sensitivity", digest) else None

    def _places(self, name: str) -> Iterator[Path]:
        yield from (file.parent for file in sorted((self._folder / name).glob(f"*/{MANIFEST}")))


def trainings(record: Record, config: Config, ready: Prepared) -> list[Training]:
    """Return the trainings of a run, in their order.

    The layers of a network that is cut are known after the cut, so that a second phase counts as a training
    that is still to be made.

    Args:
        record: Of the store.
        config: The settings.
        ready: What ``prepare(config)`` returned.
    """
    dense = dense_inputs(config, ready)
    found: list[Training] = []
    digest = ""
    for name, kind, inputs, epochs in _stages(record, config, ready, dense):
        digest = digest_of(kind, inputs(digest))
        stored = record.has(kind, digest)
        seconds = 0.0 if stored or not epochs else record.seconds(dense, epochs * len(ready.data.train))
        found.append(Training(name, digest, stored, seconds))
    return found


_Inputs = Callable[[str], dict[str, Any]]


def _stages(
    record: Record, config: Config, ready: Prepared, dense: dict[str, Any]
) -> Iterator[tuple[str, str, _Inputs, int]]:
    """Yield the name of each training, the kind of its stage, its inputs after the one before, and epochs."""
    first, last, after = config, config, ready.then
    yield "dense", "dense", lambda _: dense, ready.trainer.dense_fit(config.seed).epochs
    name = "cut" if after else "pruned"
    epochs = ready.trainer.pruned_fit(config.seed).epochs
    yield name, "pruned", lambda before: _pruned_inputs(record, first, ready, before), epochs
    if after:
        last = second_phase.settings(config)
        epochs = after.trainer.pruned_fit(config.seed).epochs
        yield "pruned", "pruned", lambda before: pruned_inputs(last, after, dense=before, phase=2), epochs
    if config.sharing.values is not None:
        yield (
            "shared",
            "shared",
            lambda before: shared_inputs(config, ready, pruned=before),
            config.sharing.epochs,
        )
    if epochs := config.quantization_aware.epochs:
        kind = "quantization_aware"
        yield kind, kind, lambda before: aware_inputs(config, ready, before=before), epochs


def _pruned_inputs(record: Record, config: Config, ready: Prepared, dense: str) -> dict[str, Any]:
    """Return the inputs of pruning; those that no run has, where a scan is still to be made."""
    if not isinstance(config.distribution, Scanning):
        return pruned_inputs(config, ready, dense=dense)
    found = record.scan(digest_of("sensitivity", scan_inputs(config, ready, network=dense)))
    if not found:
        return {**pruned_inputs(config, ready, dense=dense), "scan": None}
    masks = replace(ready.masks, distribution=config.distribution.after(found))
    return pruned_inputs(config, replace(ready, masks=masks), dense=dense)


def _network_of(inputs: dict[str, Any]) -> str:
    """Return a digest of what the speed of a dense training depends on."""
    return digest_of("network", {key: inputs.get(key) for key in ("model", "spec", "device")})


def _inputs(place: Path) -> dict[str, Any]:
    found = _read(place / MANIFEST).get("inputs")
    return found if isinstance(found, dict) else {}


def _read(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(file.read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def distinct(cells: Sequence[Sequence[Training]]) -> list[Training]:
    """Return each training of several runs once."""
    return list({each.digest: each for cell in cells for each in cell}.values())
