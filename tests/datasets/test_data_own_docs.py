"""Every command of docs/data.md for data of one's own, and its module, on small data."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_formats import review_folder
from own_fixtures import class_folders, numbers, opinions, rows, three_parts
from record_fixtures import image_files
from support import ROOT

import pruneflow
from pruneflow.runtime import backend

DOCS = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SECTION = DOCS.split("## Data of your own")[1].split("\n## ")[0]
BLOCKS = re.findall(r"```sh\n(.*?)```", SECTION, re.S)
LINES = [line for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line.removeprefix("python -m pruneflow ") for line in LINES if " -m pruneflow " in line]
ROWS = re.findall(r"^\| .+ \| `python -m pruneflow (.+)` \|$", SECTION, re.M)
# Short phases, and little to prune, so that no network is brought to chance.
SHORT = [
    *("latency.seconds=0", "report=false", "trainer.epochs=1", "trainer.batch_size=8"),
    *("trainer.dense_epochs=1", "trainer.dense_batch_size=8", "schedule=constant", "schedule.frequency=1"),
    *("schedule.final_sparsity=0.1", "schedule.begin_step=0"),
]
SMALL = {"lstm": ["model.units=4", "model.embedding_dim=4"], "mlp": ["model.hidden_units=[4]"]}
(MODULE,) = re.findall(r"```python\n# mine\.py\n(.*?)```", SECTION, re.S)


def test_every_option_has_a_command() -> None:
    assert len(COMMANDS) == 23
    for option in ("image_folder", "arrays", "tfrecord", "csv_text", "custom"):
        assert any(f"dataset={option}" in command for command in COMMANDS)
        assert f"| `dataset={option}` |" in SECTION


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands name."""
    folder = tmp_path_factory.mktemp("files")
    class_folders(folder / "pets", count=40)
    _network().save(folder / "network.keras")
    image_files(folder / "records", n=90, shape=(32, 32, 3))
    scans = np.random.default_rng(2).integers(0, 4096, (80, 13, 12, 12), dtype=np.uint16)
    np.savez(folder / "scans.npz", x=scans, y=np.arange(80) % 2)
    table = np.column_stack([numbers()["x"], numbers()["y"]])
    np.savetxt(folder / "table.csv", table, delimiter=",", header="a,b,c,class", comments="")
    ids = np.random.default_rng(3).integers(1, 30, (80, 12))
    np.savez(folder / "ids.npz", x=ids, y=ids[:, 0] % 2)
    words = {"neg": "a bad, boring film", "pos": "a good, exciting film"}
    halves = [(half, sign, number) for half in ("train", "test") for sign in words for number in range(20)]
    review_folder(
        folder / "aclImdb", {f"{half}/{sign}/{n}_1.txt": f"{words[sign]} {n}" for half, sign, n in halves}
    )
    three_parts(folder / "parts")
    pictures = np.random.default_rng(0).integers(0, 256, (80, 28, 28), dtype=np.uint8)
    kinds = np.arange(80) % 2
    np.savez(folder / "pictures.npz", x=pictures, y=kinds, images=pictures, kinds=kinds)
    np.save(folder / "x.npy", numbers()["x"])
    np.savez(folder / "readings.npz", x=numbers()["x"], y=numbers()["x"].sum(axis=1))
    for name, part in (("y", "y"), ("x_test", "x"), ("y_test", "y")):
        np.save(folder / f"{name}.npy", numbers()[part])
    windows = np.random.default_rng(1).normal(size=(80, 12, 3))
    np.savez(folder / "windows.npz", x=windows, y=kinds, speaker=np.arange(80) // 4, weights=np.ones(80))
    np.savez(folder / "digits.npz", x=windows, y=kinds, groups=np.arange(80) // 4)
    quoted = [rf'"a \"{word}\" film, {i}",{word}' for i in range(40) for word in ("bad", "good")]
    rows(folder / "reviews.csv", ["review,sentiment", *quoted])
    for name in ("opinions.csv", "later.csv"):
        rows(folder / name, opinions(60, classes=("bad", "good")))
    lines = [*opinions(60, classes=("bad", "café")), "a film,"]
    rows(folder / "old.csv", lines, encoding="cp1252")
    (folder / "mine.py").write_text(MODULE)
    return folder


@pytest.fixture
def beside(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the same into the current folder, with a cache folder of its own."""
    monkeypatch.setenv("PRUNEFLOW_DATA_DIR", str(tmp_path / "cache"))
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    sys.modules.pop("mine", None)


def _network() -> Any:
    keras = backend.keras()
    layers = keras.layers
    parts = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(4, activation="relu"), layers.Dense(2)]
    return keras.Sequential([keras.Input((6, 5, 3)), *parts, layers.Softmax()])


def test_there_is_a_row_for_every_kind_and_option() -> None:
    assert len(ROWS) == 15
    for word in (
        "image_folder",
        "arrays",
        "csv_text",
        "imdb",
        "custom",
        "tfrecord",
        "signal",
        "tokens",
        "regression",
    ):
        assert any(f"={word}" in row for row in ROWS)


@pytest.mark.run
@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("command", ROWS)
def test_every_row_trains_prunes_and_exports(command: str, tmp_path: Path) -> None:
    model = command.partition("model=")[2].split()[0] if "model=" in command else "cnn"
    typed = [*shlex.split(command), *SHORT, *SMALL.get(model, [])]
    typed += [f"dataset.cache_dir={tmp_path / 'cache'}"] if "image_folder" in command else []
    result = pruneflow.run(typed, folder=tmp_path / "run")
    assert [file.kind for file in result.tflite] == ["float"]
    assert (tmp_path / "run" / result.tflite[0].file).stat().st_size > 0


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_loads_and_fits_its_model(command: str, composed: Callable[..., Any]) -> None:
    config = composed(*shlex.split(command))
    data = config.dataset.load()
    assert data.spec.is_measured == ("model=mlp" in command or "model=ds_cnn" in command)
    config.model.check(data.spec)
    assert data.class_names or data.spec.kind != "tokens"
    if "dataset=custom" in command:
        assert data.class_names == ("dark", "bright")
        assert data.spec.shape[:2] == ((16, 16) if "size" in command else (28, 28))
