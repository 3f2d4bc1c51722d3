"""Every command of docs/data.md for data of one's own, and its module, on small data."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import class_folders, numbers, opinions, rows, three_parts
from support import ROOT

DOCS = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SECTION = DOCS.split("## Data of your own")[1].split("\n## ")[0]
BLOCKS = re.findall(r"```sh\n(.*?)```", SECTION, re.S)
COMMANDS = [line.removeprefix("python -m pruneflow ") for block in BLOCKS for line in block.splitlines()]
(MODULE,) = re.findall(r"```python\n# mine\.py\n(.*?)```", SECTION, re.S)


def test_every_option_has_a_command() -> None:
    assert len(COMMANDS) == 17
    for option in ("image_folder", "arrays", "csv_text", "custom"):
        assert any(f"dataset={option}" in command for command in COMMANDS)
        assert f"| `dataset={option}` |" in SECTION


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the commands name, in the current folder, with a cache folder of its own."""
    monkeypatch.setenv("PRUNEFLOW_DATA_DIR", str(tmp_path / "cache"))
    class_folders(tmp_path / "pets", count=40)
    three_parts(tmp_path / "parts")
    pictures = np.random.default_rng(0).integers(0, 256, (80, 28, 28), dtype=np.uint8)
    kinds = np.arange(80) % 2
    np.savez(tmp_path / "pictures.npz", x=pictures, y=kinds, images=pictures, kinds=kinds)
    np.save(tmp_path / "x.npy", numbers()["x"])
    np.savez(tmp_path / "readings.npz", x=numbers()["x"], y=numbers()["x"].sum(axis=1))
    for name, part in (("y", "y"), ("x_test", "x"), ("y_test", "y")):
        np.save(tmp_path / f"{name}.npy", numbers()[part])
    windows = np.random.default_rng(1).normal(size=(80, 12, 3))
    np.savez(tmp_path / "windows.npz", x=windows, y=kinds, speaker=np.arange(80) // 4)
    quoted = [rf'"a \"{word}\" film, {i}",{word}' for i in range(40) for word in ("bad", "good")]
    rows(tmp_path / "reviews.csv", ["review,sentiment", *quoted])
    for name in ("opinions.csv", "later.csv"):
        rows(tmp_path / name, opinions(60, classes=("bad", "good")))
    lines = [*opinions(60, classes=("bad", "café")), "a film,"]
    rows(tmp_path / "old.csv", lines, encoding="cp1252")
    (tmp_path / "mine.py").write_text(MODULE)
    sys.modules.pop("mine", None)


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_loads_and_fits_its_model(command: str, composed: Callable[..., Any]) -> None:
    config = composed(*shlex.split(command))
    data = config.dataset.load()
    assert (data.spec.kind == "numbers") == ("model=mlp" in command)
    config.model.check(data.spec)
    assert data.class_names or data.spec.kind != "tokens"
    if "dataset=custom" in command:
        assert data.class_names == ("dark", "bright")
        assert data.spec.shape[:2] == ((16, 16) if "size" in command else (28, 28))
