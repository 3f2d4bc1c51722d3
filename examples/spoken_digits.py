"""Turn recordings of spoken words into log-mel spectrograms, which ``dataset=arrays`` reads as signals.

python examples/spoken_digits.py spoken_digits.npz digits.npz

The first file has ``samples`` (all recordings end to end), ``offsets`` (where each begins, and the end),
``labels``, ``speaker`` and ``sample_rate``, as made of the Free Spoken Digit Dataset. The second gets ``x``
(recordings, frames, bands) float32, ``y``, and ``groups``, the speakers.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

WINDOW, HOP = 0.040, 0.020  # seconds, as in the keyword spotting of MLPerf Tiny
FRAMES = 49  # of each recording, about a second; longer ones are cut, shorter ones end in silence
BANDS = 16
QUIET = 0.01  # of the mean power of a recording; what is below counts as silence

Array = npt.NDArray[Any]


def main(source: str, target: str) -> None:
    """Write the spectrograms of all recordings in ``source`` to ``target``."""
    with np.load(source) as held:
        samples, offsets, rate = held["samples"], held["offsets"], int(held["sample_rate"])
        y, groups = held["labels"], held["speaker"]
    recordings = np.split(samples.astype(np.float32), offsets[1:-1])
    x = np.stack([log_mel(each, rate) for each in recordings])
    np.savez(target, x=x, y=y, groups=groups)
    print(f"{target}: {len(x):,} spectrograms of {x.shape[1]} frames x {x.shape[2]} bands")


def log_mel(recording: Array, rate: int) -> Array:
    """Logarithm of the power in each band, of mean 0, (frames, bands).

    The mean goes, since it says more of voice and microphone than of the word.
    """
    window, hop = round(WINDOW * rate), round(HOP * rate)
    whole = np.pad(recording, (0, max(0, window - len(recording))))
    frames = np.lib.stride_tricks.sliding_window_view(whole, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters(rate, window)
    spectrum = np.log(power + QUIET * power.mean() + 1e-9)
    spectrum -= spectrum.mean(axis=0)
    silence = np.full((FRAMES, BANDS), spectrum.min())
    return np.concatenate([spectrum, silence])[:FRAMES].astype(np.float32)


def mel_filters(rate: int, window: int) -> Array:
    """Triangles that overlap by half, evenly spaced in mel, (frequencies, bands)."""
    frequencies = np.fft.rfftfreq(window, 1 / rate)
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), BANDS + 2)
    low, peak, high = (700 * (10 ** (mel[i : i + BANDS] / 2595) - 1) for i in range(3))
    rising = (frequencies[:, None] - low) / (peak - low)
    falling = (high - frequencies[:, None]) / (high - peak)
    return np.maximum(0, np.minimum(rising, falling))


if __name__ == "__main__":
    main(*sys.argv[1:3])
