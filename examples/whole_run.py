"""Train, prune and export from Python, and read the figures: what ``python -m pruneflow`` does in one run."""

from __future__ import annotations

import sys

import pruneflow


def main(words: list[str]) -> None:
    """Run with the given settings, such as ``schedule.final_sparsity=0.9``, and print one line a file."""
    config = pruneflow.compose(words)
    print(f"{config.model.name} on {config.dataset.name}, to sparsity {config.schedule.final_sparsity}")
    result = pruneflow.run(config)
    for file in result.tflite:
        print(f"{file.file}: accuracy {file.accuracy:.4f}, {file.size.gzip_bytes:,} bytes after gzip")
    print(f"{result.ratios['export_gzip']:.2f} times smaller than the dense file")


if __name__ == "__main__":
    main(sys.argv[1:])
