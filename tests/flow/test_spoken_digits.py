"""The example of spoken digits: recordings to spectrograms, and a small network for them."""

import json
import runpy
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT
from test_cli import command

RATE, WORDS, SPEAKERS, TAKES = 8000, 2, 6, 20
PITCHES = np.array([500.0, 2000.0])
SCRIPT = runpy.run_path(str(ROOT / "examples" / "spoken_digits.py"))
DOCS = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").split("#### Spoken digits")[1]
COMMAND = next(line for line in DOCS.splitlines() if "model=ds_cnn" in line)


def spoken(word: int, samples: int) -> np.ndarray:
    """Two tones, low and then high or high and then low."""
    time, late = np.arange(samples), np.arange(samples) > samples // 2
    return np.sin(2 * np.pi * PITCHES[word ^ late.astype(int)] * time / RATE)


def recorded(file: Path) -> Path:
    """A file of the same form, in which each speaker has a volume and a length."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(SPEAKERS), TAKES)
    labels, speaker = (each.ravel() for each in np.meshgrid(np.arange(WORDS), people))
    lengths = 2000 + 500 * speaker + rng.integers(0, 400, len(labels))
    waves = [
        (100 + 1000 * who) * (spoken(word, length) + rng.normal(0, 0.1, length))
        for word, who, length in zip(labels, speaker, lengths, strict=True)
    ]
    np.savez(
        file,
        samples=np.concatenate(waves).astype(np.int16),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        labels=labels.astype(np.uint8),
        speaker=speaker.astype(np.uint8),
        sample_rate=RATE,
    )
    return file


def result_of(folder: Path, *words: str) -> dict[str, Any]:
    """What the command of the docs gives on digits.npz, with other words at its end."""
    done = command(
        [*shlex.split(COMMAND)[3:], "latency.seconds=0", "report=false", "hydra.run.dir=run", *words]
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "run" / "result.json").read_text())
    return found


def test_tones_are_in_their_bands_and_silence_follows(tmp_path: Path) -> None:
    """Peaks of bands are 126.2 mel apart: 500 Hz (607 mel) are in band 4, 2,000 Hz (1,521 mel) in band 11."""
    SCRIPT["main"](str(recorded(tmp_path / "tones.npz")), str(tmp_path / "digits.npz"))
    with np.load(tmp_path / "digits.npz") as held:
        x, y, groups = held["x"], held["y"], held["groups"]
    assert (x.shape, x.dtype) == ((WORDS * SPEAKERS * TAKES, 49, 16), np.float32)
    assert np.bincount(groups).tolist() == [WORDS * TAKES] * SPEAKERS
    begins = x[:, 1:4].mean(axis=1)
    change = begins[y == 0].mean(axis=0) - begins[y == 1].mean(axis=0)
    assert (change.argmax(), change.argmin()) == (4, 11)
    assert (x[:, 40:] == x.min(axis=(1, 2), keepdims=True)).all()


def test_a_spectrogram_does_not_know_the_volume() -> None:
    quiet = spoken(0, 3000).astype(np.float32)
    loud = SCRIPT["log_mel"](1000 * quiet, RATE)
    np.testing.assert_allclose(SCRIPT["log_mel"](quiet, RATE), loud, atol=1e-4)


@pytest.mark.long
def test_new_speakers_are_understood_by_the_pruned_network_and_its_files(tmp_path: Path) -> None:
    SCRIPT["main"](str(recorded(tmp_path / "tones.npz")), str(tmp_path / "digits.npz"))
    small = ["model.filters=16", "model.blocks=1", "model.dropout=0", "trainer.dense_epochs=30"]
    result = result_of(tmp_path, *small)
    kept = "No group of dataset.groups (6 in all) is in two parts (test and validation drawn)."
    assert kept in result["data"]["note"]
    assert result["data"]["test"] == WORDS * TAKES
    assert min(result["dense"]["accuracy"], *(file["accuracy"] for file in result["tflite"])) > 0.9
    assert result["pruned"]["measured_sparsity"] == pytest.approx(0.8, abs=0.01)


@pytest.mark.long
def test_digits_of_a_real_new_speaker_are_understood(tmp_path: Path, real_data: str) -> None:
    source = Path(real_data, "spoken_digits.npz")
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    SCRIPT["main"](str(source), str(tmp_path / "digits.npz"))
    result = result_of(tmp_path, "trainer.dense_epochs=10", "trainer.epochs=10")
    accuracies = {file["kind"]: file["accuracy"] for file in result["tflite"]}
    assert result["dense"]["accuracy"] > 0.7
    assert accuracies["float"] > result["dense"]["accuracy"] - 0.1
