"""Data as an exported network learned to read them: by the vocabulary and the scales that its run saved."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.rows import Rows
from pruneflow.datasets.spec import Data, Part, Targets
from pruneflow.errors import PruneflowError
from pruneflow.runtime.terminal import say

Floats = npt.NDArray[np.float64]

VOCABULARY, STANDARDISATION = "vocabulary.json", "standardisation.json"


def as_trained(file: Path, dataset: Any, data: Data) -> Data:
    """Read the examples as the run did that exported ``file``, where its folder says how.

    Words are counted, and means taken, over a training part; with other settings that is another one, and
    the network would be shown ids and scales that it never learned.

    Args:
        file: A ``.tflite`` file, beside which ``vocabulary.json`` or ``standardisation.json`` may lie.
        dataset: The option that ``data`` came from.

    Raises:
        PruneflowError: if what lies beside the file is broken, or does not fit the data.
    """
    words, scales = file.with_name(VOCABULARY), file.with_name(STANDARDISATION)
    if words.is_file() and hasattr(dataset, "index_path") and dataset.index_path is None:
        data = _with_words(words, dataset, data)
    if scales.is_file() and data.spec.kind != "tokens":
        data = _with_scales(scales, data)
    return data


def _with_words(file: Path, dataset: Any, data: Data) -> Data:
    if data.vocabulary is None or _read(file) == data.vocabulary:
        return data
    say(f"Words      {file}: token ids as in training")
    return replace(dataset, index_path=str(file)).load()  # type: ignore[no-any-return]


def _with_scales(file: Path, data: Data) -> Data:
    saved, own, spec = _read(file), data.standardisation or {}, data.spec
    if saved == own:
        return data
    say(f"Scales     {file}: numbers as in training")
    try:
        x = _moved(data.test.x, own, saved, "") if spec.is_measured else data.test.x
        y = data.test.y
        if spec.targets:
            y = _moved(y, own, saved, "target_")
            mean, scale = (tuple(saved.get(f"target_{key}", ())) for key in ("mean", "scale"))
            spec = replace(spec, targets=Targets(mean, scale) if mean else Targets.plain(len(spec.targets)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PruneflowError(
            f"{file} does not fit the data: its scales are not those of examples of shape {spec.shape}. "
            "Choose the data set that the file was made for."
        ) from error
    return replace(data, test=Part(x, y), spec=spec, standardisation=saved or None)


def _moved(values: Any, own: dict[str, Any], saved: dict[str, Any], prefix: str) -> Any:
    """Take off the scales that are on the values, and put others on; none where nothing was standardised."""
    if isinstance(values, Rows):
        return values.scaled(*_scales(saved, prefix, values.shape[-1:]))
    raw = np.asarray(values, np.float64)
    if f"{prefix}mean" in own:
        raw = raw * np.array(own[f"{prefix}scale"]) + np.array(own[f"{prefix}mean"])
    mean, scale = _scales(saved, prefix, raw.shape[-1:])
    return ((raw - mean) / scale).astype(np.float32)


def _scales(saved: dict[str, Any], prefix: str, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Mean and scale that were saved; 0 and 1 where nothing was standardised."""
    if f"{prefix}mean" not in saved:
        return np.zeros(shape), np.ones(shape)
    mean, scale = (np.array(saved[f"{prefix}{key}"], np.float64) for key in ("mean", "scale"))
    usable = np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()
    if not (usable and mean.shape == scale.shape == shape):
        raise ValueError(mean.shape)
    return mean, scale


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PruneflowError(f"{file} cannot be read ({error}). Mend it, or move it away.") from error
    if not isinstance(found, dict):
        raise PruneflowError(f"{file} is no JSON object. Mend it, or move it away.")
    return found
