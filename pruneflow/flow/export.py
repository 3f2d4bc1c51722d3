"""The stage that exports: a trained network becomes a TFLite file, once per network and kind."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pruneflow.datasets.spec import Data
from pruneflow.exports import tflite
from pruneflow.exports.base import Export
from pruneflow.exports.encodings import Candidate, encode
from pruneflow.exports.exporters import Float
from pruneflow.exports.micro import MicroFacts
from pruneflow.exports.sizes import COMPRESSIONS, Size, compressed, size_of
from pruneflow.flow.config import plain
from pruneflow.flow.manifests import digest_of
from pruneflow.flow.networks import Network, Networks
from pruneflow.flow.store import Stage, Store
from pruneflow.runtime.files import write_file
from pruneflow.runtime.terminal import bar
from pruneflow.runtime.versions import library_versions

# Raise it in the commit that changes the bytes which the same network and settings give.
EXPORT_VERSION = 3

DENSE_FLOAT = "dense-float.tflite"
MODEL, FACTS = "model.tflite", "facts.json"


@dataclass(frozen=True)
class Exported:
    """One TFLite file.

    Attributes:
        stage: Where it was taken from.
        content: Its bytes.
        size: Its sizes.
        seconds: What the conversions took, when they were done.
        candidates: The encodings that were tried.
    """

    stage: Stage
    content: bytes = field(repr=False)
    size: Size
    seconds: float
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Shipped:
    """An exported file of a run, and the baseline exported in the same way.

    Attributes:
        export: How both were exported.
        file: The pruned network in the folder of the run.
        sent: The same, compressed.
        exported: What ``file`` holds.
        dense_file: The baseline in the folder of the run.
        dense: What ``dense_file`` holds: dense-encoded, since it has few zeros.
        cut: The network that was cut, exported as ``dense`` is, where zeros came after; in ``cut_file``.
        micro: What a microcontroller needs to run ``file``; None where it is not made for one.
    """

    export: Export
    file: Path
    sent: Path
    exported: Exported
    dense_file: Path
    dense: Exported
    cut: Exported | None = None
    micro: MicroFacts | None = None

    @property
    def cut_file(self) -> Path:
        """The network that was cut in the folder of the run, where zeros came after."""
        return self.file.with_name(f"cut-{self.export.kind}.tflite")

    @property
    def dense_float(self) -> Path:
        """The baseline as a float file, which every run has."""
        return self.file.with_name(DENSE_FLOAT)

    @cached_property
    def dense_multiply_adds(self) -> int:
        """Multiply-adds of one invocation of the baseline."""
        return tflite.parse(self.dense.content, self.dense_file.name).multiply_adds


@dataclass(frozen=True)
class Artefacts:
    """The TFLite files of a run.

    Attributes:
        shipped: The pruned network, once per kind.
        dense: The baseline as a float file.
        pruned: The pruned network as a dense-encoded float file, so that like is compared with like.
        cut: The same of the network that was cut, where zeros came after.
        before: The same before later stages, where there are any.
    """

    shipped: list[Shipped]
    dense: Exported
    pruned: Exported
    cut: Exported | None = None
    before: Exported | None = None

    @property
    def seconds(self) -> float:
        """Seconds of the conversions when they were done."""
        files = [self.dense, self.pruned, *filter(None, (self.cut, self.before))]
        files += [each for shipped in self.shipped for each in (shipped.exported, shipped.dense)]
        files += [shipped.cut for shipped in self.shipped if shipped.cut]
        once = {file.stage.digest: file.seconds for file in files}
        return sum(once.values())


def export(
    store: Store, exports: Sequence[Export], data: Data, networks: Networks, run_dir: Path
) -> Artefacts:
    """Write ``pruned-<kind>.tflite``, what is sent of it, and the networks before it, for each kind.

    ``dense-float.tflite`` is always written and, where the data are texts whose words are known,
    ``vocabulary.json``; where they are numbers, ``standardisation.json``; where classes have names,
    ``labels.txt``.

    Args:
        exports: How the pruned network becomes TFLite, once per kind.
        data: What both networks read; calibration takes training examples.

    Raises:
        PruneflowError: if a file that is asked for does not run here.
    """
    made = dict[str, Exported]()
    count = (1 + len(exports)) * len(networks.named) + bool(networks.pruned.before)
    with bar(f"Exporting {', '.join(each.kind for each in exports)}", total=count) as advance:

        def exported(how: Export, network: Network) -> Exported:
            key = digest_of("export", export_inputs(how, network=network.stage.digest))
            if key not in made:  # one file may be wanted twice, and is not reused by that
                made[key] = _exported(store, how, network, data)
            advance()
            return made[key]

        def of_each(how: Export) -> dict[str, Exported]:
            before = _dense_encoded(how)
            return {
                name: exported(how if name == "pruned" else before, network)
                for name, network in networks.named.items()
            }

        of_kinds = [(how, of_each(how)) for how in exports]
        as_float, unshared = of_each(Float(name="float")), networks.pruned.unchanged
        before = exported(Float(name="float"), unshared) if unshared else None
    write_file(run_dir / DENSE_FLOAT, as_float["dense"].content)
    shipped = [_ship(how, files, run_dir) for how, files in of_kinds]
    if data.vocabulary is not None:
        words = json.dumps(data.vocabulary, ensure_ascii=False, indent=0)
        write_file(run_dir / "vocabulary.json", words.encode())
    if data.spec.is_measured or data.spec.targets:
        write_file(run_dir / "standardisation.json", json.dumps(data.standardisation or {}).encode())
    if data.class_names:
        lines = (" ".join(name.split()) or "?" for name in data.class_names)  # each in a line of its own
        write_file(run_dir / "labels.txt", "".join(f"{line}\n" for line in lines).encode())
    return Artefacts(shipped, **as_float, before=before)


def export_inputs(export: Export, *, network: str) -> dict[str, Any]:
    """Everything that the bytes of the file depend on; the network's digest covers data and seed."""
    return {
        "version": EXPORT_VERSION,
        "libraries": library_versions(*export.libraries),
        "network": network,
        "export": export.identity(),
    }


def _ship(how: Export, files: Mapping[str, Exported], run_dir: Path) -> Shipped:
    exported, dense = files["pruned"], files["dense"]
    file, dense_file = run_dir / f"pruned-{how.kind}.tflite", run_dir / f"dense-{how.kind}.tflite"
    sent = file.with_name(file.name + COMPRESSIONS[how.compression])
    write_file(file, exported.content)
    write_file(sent, compressed(exported.content, how.compression))
    write_file(dense_file, dense.content)
    needs = how.needs(exported.content, dense.content)
    if needs:
        header = needs.header(file.name, len(exported.content))
        write_file(file.with_name(f"{file.stem}-ops.h"), header.encode())
    shipped = Shipped(how, file, sent, exported, dense_file, dense, files.get("cut"), needs)
    if shipped.cut:
        write_file(shipped.cut_file, shipped.cut.content)
    return shipped


def _dense_encoded(export: Export) -> Export:
    """The same export for a network that has no zeros to leave out."""
    copy: Export = type(export)(**{**plain(export), "encoding": "dense"})
    return copy


def _exported(store: Store, export: Export, network: Network, data: Data) -> Exported:
    with store.held("export", export_inputs(export, network=network.stage.digest)) as held:
        if held.missing:
            with held.making() as folder:
                _export(export, network, data, folder)
        return _read(held.stage)


def _export(export: Export, network: Network, data: Data, folder: Path) -> None:
    start = time.perf_counter()
    aware = network.fake_quantized is not None and export.kind == "int8"
    encoded = encode(export, network.as_trained if aware else network.model, data, has_ranges=aware)
    seconds = time.perf_counter() - start
    write_file(folder / MODEL, encoded.content)
    facts = {
        "seconds": seconds,
        "size": asdict(size_of(encoded.content)),
        "candidates": [asdict(candidate) for candidate in encoded.candidates],
    }
    write_file(folder / FACTS, json.dumps(facts).encode())


def _read(stage: Stage) -> Exported:
    folder = Path(stage.path)
    facts = json.loads((folder / FACTS).read_bytes())
    return Exported(
        stage=stage,
        content=(folder / MODEL).read_bytes(),
        size=Size(**facts["size"]),
        seconds=facts["seconds"],
        candidates=tuple(Candidate(**candidate) for candidate in facts["candidates"]),
    )
