"""Results of older formats, given the shape of today's."""

from typing import Any

SIZES = ("bytes", "gzip_bytes", "zip_bytes", "zstd_bytes")

# Facts about a file that format 1 does not have.
UNKNOWN: dict[str, Any] = {
    "encoding": "dense",
    "validation_accuracy": None,
    "validation_drop": None,
    "dense_file": "",
    "size_ratios": {},
    "encodings": [],
    "inside": None,
    "theoretical_speedup": None,
    "latency": None,
    "stages": {},
}


def of_today(found: dict[str, Any]) -> dict[str, Any]:
    """Return a result of format 1 or 2 in the shape of format 3, and one of format 3 as it is.

    Args:
        found: What ``result.json`` holds.

    Raises:
        ValueError: if it lacks what its format has.
    """
    if found["format"] >= 3:
        return found
    try:
        networks = {key: _network(found[key]) for key in ("dense", "pruned", "cut") if found.get(key)}
        return {**found, **networks, "tflite": [_file(each, found) for each in found["tflite"]]}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"a part of format {found['format']} is missing or no object ({error})") from error


def _network(found: dict[str, Any]) -> dict[str, Any]:
    """Nest the sizes of a network and of what it was before, and complete metrics and layers."""
    sizes = {form: _size(found, f"{form}_") for form in ("tflite", "h5")}
    inner = ("wrapped", "sharing", "quantization_aware", "before")
    forms = {key: _network(found[key]) if found.get(key) else None for key in inner}
    layers = [{"expected": None, **each} for each in found.get("layers", ())]
    return {**_metrics(found), **found, **sizes, **forms, **({"layers": layers} if layers else {})}


def _file(found: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Nest the sizes of an exported file, and complete its metrics, and what format 1 does not say."""
    sizes = {"size": _size(found), "dense_size": _size(found, "dense_") or None}
    if result["format"] == 1:
        differ = round((1 - found["agreement"]) * result["data"]["test"])
        found = {**UNKNOWN, "disagreements": differ, "sent": found["file"], **found}
    return {**_metrics(found), **found, **sizes}


def _size(found: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    return {key: found[f"{prefix}{key}"] for key in SIZES if f"{prefix}{key}" in found}


def _metrics(found: dict[str, Any]) -> dict[str, Any]:
    """Return metrics by name, from results that knew accuracy only."""
    parts = {part: found.get(f"{part}accuracy") for part in ("", "validation_")}
    return {f"{part}metrics": None if each is None else {"accuracy": each} for part, each in parts.items()}
