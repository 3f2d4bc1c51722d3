"""A training phase in TensorBoard: settings, the meaning of each tag, curves that share a chart."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pruneflow.runtime.files import write_file
from pruneflow.training.events import event_file
from pruneflow.training.metrics import HEADLINES, METRICS, label_of, metric


@dataclass(kw_only=True)
class TensorBoard:
    """The additions to the curves of the pruning phase; each takes space on the disk."""

    histograms: bool
    masks: bool

    @property
    def inputs(self) -> dict[str, Any]:
        """Return the additions that are on, for the digest of the stage; empty where none is."""
        return {name: on for name, on in asdict(self).items() if on}


_MEANINGS = {
    "sparsity/total": "Share of zeros over all pruned weights together, counted with masks applied.",
    "sparsity/planned": "Share of zeros over all pruned weights together that the schedule asks for.",
    "loss/train": "Loss that trainer.loss names (by default cross-entropy, nats), mean over the training "
    "examples of the epoch, as it went on.",
    "loss/validation": "The same loss, mean over the validation part, at the end of the epoch.",
    "learning_rate": "Learning rate of the optimizer at the end of the epoch.",
    "examples_per_second": "Training examples per second in this epoch; validation is not counted.",
}

_MEANINGS_OF_PARTS = {
    "train": "{meaning} Training examples of the epoch, as it went on.",
    "validation": "{meaning} Validation part, at the end of the epoch.",
    "pruned": "{name}/validation of the pruning phase alone, for a chart with its sparsity.",
}

_MEANINGS_OF_WEIGHTS = {
    "sparsity": "Share of zeros in {name}, counted with its mask applied.",
    "threshold": "Lowest score that was kept in {name} at the last mask update; by default a magnitude.",
    "units": "Units of {name} that are kept; the others are cut out at the end.",
    "weights": "Weights of {name} that are kept; those that are masked would be one bar at zero.",
    "masks": "Mask of {name}, inputs downwards, outputs across: white is kept, black is masked.",
}


def description(tag: str) -> str:
    """One line on what a tag shows.

    >>> description("sparsity/dense/kernel")
    'Share of zeros in dense/kernel, counted with its mask applied.'
    """
    kind, _, name = tag.partition("/")
    if tag in _MEANINGS:
        return _MEANINGS[tag]
    if name in _MEANINGS_OF_PARTS and kind in {**HEADLINES, **METRICS}:
        return _MEANINGS_OF_PARTS[name].format(name=kind, meaning=metric(kind).meaning)
    return _MEANINGS_OF_WEIGHTS[kind].format(name=name)


def charts(headline: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the charts of TensorBoard's page of custom scalars: patterns of the tags that share one.

    Returns:
        By category, and by title.
    """
    label = label_of(headline)
    return {
        "Pruning": {
            # A chart takes its tags from all runs: accuracy/validation would draw the dense phase too,
            # so long that the pruning phase has no room.
            f"sparsity and {label}": ("sparsity/planned$", "sparsity/total$", f"^{headline}/pruned$"),
            "sparsity of each weight": ("sparsity/(?!total$|planned$)",),
            "thresholds": ("threshold/",),
        },
        "Training": {
            "loss": ("loss/train$", "loss/validation$"),
            label: (f"^{headline}/train$", f"^{headline}/validation$"),
        },
    }


# It sorts before the files of TensorFlow's writers, of which TensorBoard reads one after the other.
LAYOUT_FILE = "events.out.tfevents.0.layout"


def write_layout(folder: Path, headline: str) -> None:
    """Say which curves share a chart, once in each folder of event files.

    TensorBoard merges layouts of several runs into one, which has each chart once.
    """
    file = folder / LAYOUT_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_file(file, event_file([_layout(headline)], step=0, seconds=time.time()))


def _layout(headline: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    categories = [
        layout_pb2.Category(
            title=title,
            chart=[
                layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=tags))
                for name, tags in of_category.items()
            ],
        )
        for title, of_category in charts(headline).items()
    ]
    summary = Summary()
    summary.value.add(
        tag=metadata.CONFIG_SUMMARY_TAG,
        metadata=metadata.create_summary_metadata(),
        tensor=make_tensor_proto(layout_pb2.Layout(category=categories).SerializeToString()),
    )
    return summary
