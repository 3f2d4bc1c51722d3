"""docs/walkthrough.md, followed as it stands: every command as written, one after the other."""

import gzip
import json
import os
import re
import shlex
import sys
from pathlib import Path

import forked
import numpy as np
import pytest

pytestmark = pytest.mark.long

TEXT = (Path(__file__).parent.parent / "docs" / "walkthrough.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.S) for line in block.splitlines()]
(SCRIPT,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)


def write_photos(folder):
    """Images of two classes and of several sizes, told apart by where they are bright."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            side = int(rng.integers(28, 44))
            pixels = rng.integers(0, 90, (side, side, 3)).astype(np.uint8)
            half = slice(0, side // 2) if name == "cat" else slice(side // 2, side)
            pixels[half, :, 0 if name == "cat" else 2] += 150
            Image.fromarray(pixels).save(folder / name / f"{number:04}.{('jpg', 'png')[number % 2]}")


def followed_here(line, **options):
    """Run a command of Python; the variable before it is set here already."""
    words = shlex.split(line)
    words = words[words.index("python") + 1 :]
    if words[0] != "-m":
        words = ["-c", f"import runpy; runpy.run_path({words[0]!r}, run_name='__main__')"]
    return forked.run([sys.executable, *words], **options)


def followed(folder):
    """Take all steps in a folder; return what each command printed."""
    write_photos(folder / "photos")
    (folder / "train.py").write_text(SCRIPT)
    environment = {**os.environ, "PRUNEFLOW_DATA_DIR": str(folder / "cache")}
    printed = []
    for line in COMMANDS:
        done = followed_here(line, cwd=folder, env=environment)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        printed.append(done.stdout)
    return printed


def test_one_command_prunes_and_asks_for_nothing_that_the_network_knows():
    assert len(COMMANDS) == 4
    assert not any(key in TEXT for key in ("model.pixels", "dataset.height", "dataset.width"))


def test_the_steps_end_with_a_file_to_send_and_pages(tmp_path):
    printed = followed(tmp_path)
    the_network_comes_trained_and_is_not_trained_again(tmp_path, printed)
    there_is_a_file_to_send_and_a_page(tmp_path, printed)
    the_grid_is_on_a_page(tmp_path, printed)


def the_network_comes_trained_and_is_not_trained_again(folder, printed):
    result = json.loads((folder / "small" / "result.json").read_text())
    assert "Images have what network.keras reads: height 32, width 32, channels 3." in result["data"]["note"]
    assert "Pixels are given from 0 to 255, as the layer rescaling at the beginning" in printed[1]
    assert printed[1].index("As it came accuracy") < printed[1].index("Training, pruned")
    assert result["dense"]["accuracy"] >= 0.9
    assert result["config"]["trainer"]["dense_epochs"] == 0
    assert result["data"]["class_names"] == ["cat", "dog"]
    assert (result["data"]["train"], result["data"]["validation"], result["data"]["test"]) == (86, 10, 24)


def there_is_a_file_to_send_and_a_page(folder, printed):
    sent = gzip.decompress((folder / "small" / "pruned-int8.tflite.gz").read_bytes())
    assert sent == (folder / "small" / "pruned-int8.tflite").read_bytes()
    result = json.loads((folder / "small" / "result.json").read_text())
    assert result["pruned"]["requested_sparsity"] == 0.8
    assert result["tflite"][0]["accuracy"] >= 0.9
    assert "keras_file on image_folder" in (folder / "small" / "report.html").read_text()
    assert f"{result['tflite'][0]['accuracy']:.4f}" in printed[2]


def the_grid_is_on_a_page(folder, printed):
    assert (
        "4 runs of keras_file on image_folder: export, final_sparsity"
        in (folder / "grid" / "report.html").read_text()
    )
    assert "done cells=4 failed=0" in printed[3]
