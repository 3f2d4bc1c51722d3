"""Data of a user's own, small and in every layout, and the options that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from pruneflow.datasets import options
from pruneflow.options import choices

assert options  # registers the options

CONF = Path(__file__).parent.parent / "conf" / "dataset"


def own(name: str, **changes: Any) -> Any:
    """An option with the values of its YAML file, but for ``changes``."""
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    del values["defaults"]
    values.update({key: None for key, value in values.items() if str(value).startswith("${")})
    return choices("dataset")[name](**{**values, **changes})


def arrays(path: Path, **changes: Any) -> Any:
    return own("arrays", path=str(path), **changes)


def texts(path: Path, **changes: Any) -> Any:
    return own("csv_text", path=str(path), **{"vocabulary_size": 40, "length": 4, **changes})


def images(path: Path, **changes: Any) -> Any:
    return own("image_folder", path=str(path), **{"cache_dir": str(path.parent / "cache"), **changes})


def picture(value: int, *, height: int = 6, width: int = 5) -> Image.Image:
    """One in colours: red is ``value``, green rises to the right, blue downwards."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = value
    pixels[..., 1] = np.arange(width) * 10
    pixels[..., 2] = np.arange(height)[:, None] * 20
    return Image.fromarray(pixels)


def class_folders(
    root: Path, *, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10, suffix: str = "png"
) -> Path:
    """Files of different reds, ``count`` in each class."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for each in range(count):
            picture(100 * number + each).save(root / name / f"{each:03}.{suffix}")
    return root


def three_parts(root: Path) -> Path:
    """``train``, ``validation`` and ``test`` with class folders."""
    for part, count in (("train", 8), ("validation", 3), ("test", 4)):
        class_folders(root / part, count=count)
    return root


def numbers(n: int = 40, features: int = 3) -> dict[str, np.ndarray]:
    """Rows of numbers whose class is the sign of the first."""
    x = np.random.default_rng(0).normal(5, 2, (n, features))
    return {"x": x, "y": (x[:, 0] > 5).astype(np.int64)}


def rows(path: Path, lines: list[str], *, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def opinions(count: int = 30, *, classes: tuple[str, ...] = ("bad", "good", "so-so")) -> list[str]:
    """Rows of text and label, the classes in turn, each row with a word of its own."""
    body = [f"a {classes[i % len(classes)]} film w{i},{classes[i % len(classes)]}" for i in range(count)]
    return ["text,label", *body]
