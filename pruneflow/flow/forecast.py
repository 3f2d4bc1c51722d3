"""The trainings that a command would make: which are in the store, and how long the others may take."""

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

SCAN = "sensitivity"
AWARE = "quantization_aware"
KINDS = ("dense", SCAN, "pruned", "shared", AWARE)
BEFORE = ("dense", "network", "pruned", "before")  # key of the digest of the network that a stage begins with


@dataclass(frozen=True)
class Training:
    """A training of a run, or a stage without epochs.

    Attributes:
        name: Dense, scan, cut, pruned, shared, or quantization_aware.
        digest: Of its stage.
        stored: Whether the store has it.
        seconds: What it may take; 0 where the store has it, None where no similar one is there.
    """

    name: str
    digest: str
    stored: bool
    seconds: float | None


class Record:
    """The times of the stages in a store, by the network that was trained."""

    def __init__(self, store: Store) -> None:
        self._folder, self._reuse = store.folder, store.reuse
        places = [place for kind in KINDS for place in self._places(kind)]
        self._inputs = {place.name: _inputs(place) for place in places}
        self._speeds: dict[tuple[str, bool], list[float]] = {}
        self._costs: dict[tuple[str, str], list[float]] = {}
        for place in places:
            self._note(place, _read(place / FACTS))

    def _note(self, place: Path, facts: dict[str, Any]) -> None:
        """Note examples per second of a training, or seconds for one unit of other work."""
        network, speed, seconds = (
            self._network(place.name),
            facts.get("examples_per_second"),
            facts.get("seconds"),
        )
        if network and speed:
            self._speeds.setdefault((network, place.parent.name == AWARE), []).append(speed)
        elif network and seconds:
            work, units = _work(place.parent.name, self._inputs[place.name])
            self._costs.setdefault((network, work), []).append(seconds / units)

    def _network(self, digest: str) -> str | None:
        """Return the network that a stage goes back to; None where its dense stage is not there."""
        inputs = self._inputs.get(digest)
        before = next((inputs[key] for key in BEFORE if key in inputs), None) if inputs else None
        return self._network(str(before)) if before else _network_of(inputs) if inputs else None

    def has(self, kind: str, digest: str) -> bool:
        """Return whether a stage is there; its bytes are verified when it is used."""
        return self._reuse and is_stated(self._folder / kind / digest)

    def seconds(self, dense: dict[str, Any], examples: int, *, aware: bool = False) -> float | None:
        """Return the seconds for so many examples of a network; None where none like it was trained.

        Args:
            dense: Inputs of the stage of the dense network.
            aware: Whether it is trained for int8, which is slower.
        """
        speeds = self._speeds.get((_network_of(dense), aware))
        return examples / median(speeds) if speeds else None

    def seconds_at_once(self, kind: str, dense: dict[str, Any], inputs: dict[str, Any]) -> float | None:
        """Return the seconds of a stage without epochs; None where none like it was made."""
        work, units = _work(kind, inputs)
        found = self._costs.get((_network_of(dense), work))
        return median(found) * units if found else None

    def scan(self, digest: str) -> Scan | None:
        """Return a scan of a network; None where it is not there."""
        found = _read(self._folder / SCAN / digest / SCAN_FILE)
        return Scan.of(found) if found and self.has(SCAN, digest) else None

    def _places(self, name: str) -> Iterator[Path]:
        yield from (file.parent for file in sorted((self._folder / name).glob(f"*/{MANIFEST}")))


def trainings(record: Record, config: Config, ready: Prepared) -> list[Training]:
    """Return the trainings of a run and its stages without epochs, in their order.

    The layers of a network that is cut are known after the cut, so that a second phase counts as a training
    that is still to be made.

    Args:
        record: Of the store.
        ready: What ``prepare(config)`` returned.
    """
    dense = dense_inputs(config, ready)
    found: list[Training] = []
    before = ""
    for name, kind, inputs_after, epochs in _stages(record, config, ready, dense):
        inputs = inputs_after(before)
        digest = digest_of(kind, inputs)
        if record.has(kind, digest):
            found.append(Training(name, digest, True, 0.0))
        elif epochs:
            seconds = record.seconds(dense, epochs * len(ready.data.train), aware=kind == AWARE)
            found.append(Training(name, digest, False, seconds))
        elif kind != "dense":  # which is taken as it is, without epochs
            found.append(Training(name, digest, False, record.seconds_at_once(kind, dense, inputs)))
        before = before if kind == SCAN else digest
    return found


_Inputs = Callable[[str], dict[str, Any]]


def _stages(
    record: Record, config: Config, ready: Prepared, dense: dict[str, Any]
) -> Iterator[tuple[str, str, _Inputs, int]]:
    """Yield the name of each training, the kind of its stage, its inputs after the one before, and epochs."""
    first, last, after = config, config, ready.then
    yield "dense", "dense", lambda _: dense, ready.trainer.dense_fit(config.seed).epochs
    if isinstance(config.distribution, Scanning):
        yield "scan", SCAN, lambda before: scan_inputs(config, ready, network=before), 0
    name = "cut" if after else "pruned"
    epochs = ready.trainer.pruned_fit(config.seed).epochs
    yield name, "pruned", lambda before: _pruned_inputs(record, first, ready, before), epochs
    if after:
        last = second_phase.settings(config)
        epochs = after.trainer.pruned_fit(config.seed).epochs
        if isinstance(last.distribution, Scanning):
            yield "scan after the cut", SCAN, lambda before: scan_inputs(last, after, network=before), 0
        yield "pruned", "pruned", lambda before: pruned_inputs(last, after, dense=before, phase=2), epochs
    if config.sharing.values is not None:
        yield (
            "shared",
            "shared",
            lambda before: shared_inputs(config, ready, pruned=before),
            config.sharing.epochs,
        )
    if epochs := config.quantization_aware.epochs:
        yield AWARE, AWARE, lambda before: aware_inputs(config, ready, before=before), epochs


def _pruned_inputs(record: Record, config: Config, ready: Prepared, dense: str) -> dict[str, Any]:
    """Return the inputs of pruning; those that no run has, where a scan is still to be made."""
    if not isinstance(config.distribution, Scanning):
        return pruned_inputs(config, ready, dense=dense)
    found = record.scan(digest_of(SCAN, scan_inputs(config, ready, network=dense)))
    if not found:
        return {**pruned_inputs(config, ready, dense=dense), "scan": None}
    masks = replace(ready.masks, distribution=config.distribution.after(found))
    return pruned_inputs(config, replace(ready, masks=masks), dense=dense)


def _work(kind: str, inputs: dict[str, Any]) -> tuple[str, float]:
    """Return what a stage without epochs does, and how many times."""
    if kind == SCAN:
        return SCAN, max(1, len(inputs.get("levels", [])) * inputs.get("examples", 1))
    fitted = inputs.get("reconstruct")
    return (f"{kind} fitted", max(1, fitted["examples"])) if fitted else (kind, 1)


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
