"""The stage that exports: a trained network becomes a TFLite file, once per network and kind."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pruneflow.config import plain
from pruneflow.data import Data
from pruneflow.exporters import Export, Float
from pruneflow.files import write_file
from pruneflow.networks import Network
from pruneflow.results import library_versions
from pruneflow.sizes import Size, size_of
from pruneflow.stages import Stage, Store
from pruneflow.terminal import bar

__all__ = ["EXPORT_VERSION", "Artefacts", "Exported", "export", "export_inputs"]

# Raise it in the commit that changes the bytes which the same network and settings give.
EXPORT_VERSION = 1

MODEL, FACTS = "model.tflite", "facts.json"


@dataclass(frozen=True)
class Exported:
    """One TFLite file.

    Attributes:
        stage: Where it was taken from.
        kind: ``"float"``, ``"dynamic-range"`` or ``"int8"``.
        content: Its bytes.
        size: Its sizes.
        seconds: What the conversion took, when it was done.
    """

    stage: Stage
    kind: str
    content: bytes
    size: Size
    seconds: float


@dataclass(frozen=True)
class Artefacts:
    """The TFLite files of a run.

    Attributes:
        file: The exported file in the folder of the run.
        exported: The pruned network, as the run exports it.
        dense: The baseline as a float file.
        pruned: The pruned network as a float file, so that like is compared with like.
    """

    file: Path
    exported: Exported
    dense: Exported
    pruned: Exported

    @property
    def seconds(self) -> float:
        """What the conversions took, when they were done."""
        once = {file.stage.digest: file.seconds for file in (self.exported, self.dense, self.pruned)}
        return sum(once.values())


def export(
    store: Store, export: Export, data: Data, networks: tuple[Network, Network], run_dir: Path
) -> Artefacts:
    """Write ``dense-float.tflite`` and ``pruned-<kind>.tflite``.

    Where the data are texts whose words are known, ``vocabulary.json`` too.

    Args:
        store: Where finished exports are kept.
        export: How the pruned network becomes TFLite.
        data: What both networks read; calibration takes training examples.
        networks: The dense and the pruned network.
        run_dir: Where the files go.
    """
    dense, pruned = networks
    to_float = Float(name="float")
    file = run_dir / f"pruned-{export.kind}.tflite"
    with bar(f"Exporting {file.name}", total=3) as advance:
        dense_file = _exported(store, to_float, dense, data)
        advance()
        exported = _exported(store, export, pruned, data)
        advance()
        as_float = (
            exported if _settings(export) == _settings(to_float) else _exported(store, to_float, pruned, data)
        )
        advance()
    write_file(run_dir / "dense-float.tflite", dense_file.content)
    write_file(file, exported.content)
    if data.vocabulary is not None:
        words = json.dumps(data.vocabulary, ensure_ascii=False, indent=0)
        write_file(run_dir / "vocabulary.json", words.encode())
    return Artefacts(file, exported, dense_file, as_float)


def export_inputs(export: Export, *, network: str) -> dict[str, Any]:
    """Everything that the bytes of the file depend on; the network's digest covers data and seed."""
    return {
        "version": EXPORT_VERSION,
        "libraries": library_versions("tensorflow"),
        "network": network,
        "export": _settings(export),
    }


def _exported(store: Store, export: Export, network: Network, data: Data) -> Exported:
    def make(folder: Path) -> None:
        start = time.perf_counter()
        content = export.convert(network.model, data.spec, export.samples(data))
        seconds = time.perf_counter() - start
        write_file(folder / MODEL, content)
        facts = {"seconds": seconds, "size": asdict(size_of(content))}
        write_file(folder / FACTS, json.dumps(facts).encode())

    def read(stage: Stage) -> Exported:
        folder = Path(stage.path)
        facts = json.loads((folder / FACTS).read_text())
        content = (folder / MODEL).read_bytes()
        return Exported(stage, export.kind, content, Size(**facts["size"]), facts["seconds"])

    return store.get("export", export_inputs(export, network=network.stage.digest), make=make, read=read)[1]


def _settings(export: Export) -> dict[str, Any]:
    """What decides a conversion: its option and every setting but the label."""
    settings = plain(export)
    del settings["name"]
    return {"option": export.option_name, **settings}
