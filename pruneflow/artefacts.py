"""The files a run leaves for use: Keras networks as ``.h5``, TFLite files, and their sizes."""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow.data import Data
from pruneflow.exporters import Export, Float
from pruneflow.files import write_file
from pruneflow.sizes import Size, size_of
from pruneflow.sparsity.measure import WeightSparsity
from pruneflow.terminal import bar

__all__ = ["Artefacts", "Networks", "Sizes", "save"]


@dataclass(frozen=True)
class Networks:
    """The two Keras networks of a run, plain and in float32.

    Attributes:
        dense: The baseline.
        pruned: The stripped network.
        layers: Zeros of the pruned weights, as counted.
        not_pruned: Name of each layer that was left, and why.
        trained_dense: Whether the baseline was trained, or holds initial weights.
    """

    dense: Any
    pruned: Any
    layers: list[WeightSparsity]
    not_pruned: dict[str, str]
    trained_dense: bool


@dataclass(frozen=True)
class Sizes:
    """Sizes of one network, as float TFLite and as ``.h5`` without optimizer."""

    tflite: Size
    h5: Size

    @property
    def fields(self) -> dict[str, int]:
        """The same by name, ``tflite_bytes`` to ``h5_zip_bytes``."""
        formats = {"tflite": self.tflite, "h5": self.h5}
        return {
            f"{name}_{field}": getattr(size, field)
            for name, size in formats.items()
            for field in ("bytes", "gzip_bytes", "zip_bytes")
        }


@dataclass(frozen=True)
class Artefacts:
    """What was written.

    Attributes:
        file: The exported TFLite file.
        size: Its size.
        dense: Sizes of the dense baseline.
        pruned: Sizes of the pruned network.
    """

    file: Path
    size: Size
    dense: Sizes
    pruned: Sizes


def save(export: Export, data: Data, networks: Networks, folder: Path) -> Artefacts:
    """Write ``dense.h5``, ``pruned.h5``, ``dense-float.tflite`` and ``pruned-<kind>.tflite``.

    Where the data are texts whose words are known, ``vocabulary.json`` too.

    Args:
        export: How the pruned network becomes TFLite.
        data: What both networks read; calibration takes training examples.
        networks: The dense baseline and the stripped network.
        folder: Where the files go.
    """
    dense, pruned, to_float = networks.dense, networks.pruned, Float(name="float")
    file = folder / f"pruned-{export.kind}.tflite"
    with bar(f"Exporting {file.name}", total=3) as advance:
        dense_tflite = to_float.convert(dense, data)
        advance()
        content = export.convert(pruned, data)
        advance()
        # Like is compared with like: the pruned network as a float file, whatever was exported.
        as_float = content if export.kind == to_float.kind else to_float.convert(pruned, data)
        advance()
    write_file(folder / "dense-float.tflite", dense_tflite)
    write_file(file, content)
    if data.vocabulary is not None:
        words = json.dumps(data.vocabulary, ensure_ascii=False, indent=0)
        write_file(folder / "vocabulary.json", words.encode())
    dense_sizes = Sizes(size_of(dense_tflite), _save_h5(dense, folder / "dense.h5"))
    pruned_sizes = Sizes(size_of(as_float), _save_h5(pruned, folder / "pruned.h5"))
    return Artefacts(file, size_of(content), dense_sizes, pruned_sizes)


def _save_h5(model: Any, path: Path) -> Size:
    """Save as the guide does, without the optimizer; loads without tfmot."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 2 calls its own .h5 format legacy
        file = Path(folder) / path.name
        model.save(file, include_optimizer=False)
        content = file.read_bytes()
    write_file(path, content)
    return size_of(content)
