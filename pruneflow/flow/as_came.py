"""Print the accuracy of a network that came trained, before it is pruned for an hour."""

from __future__ import annotations

from pathlib import Path

from pruneflow.flow.config import Config
from pruneflow.flow.networks import Network
from pruneflow.flow.prepare import Prepared
from pruneflow.models.doubts import guessing, other_words
from pruneflow.models.tasks import task_of
from pruneflow.runtime.surroundings import expanded
from pruneflow.runtime.terminal import console, warn
from pruneflow.training.metrics import HEADLINES
from pruneflow.training.scoring import keras_outcome, score

__all__ = ["show"]

VOCABULARY = "vocabulary.json"


def show(config: Config, ready: Prepared, dense: Network) -> None:
    """Print the accuracy of a network that came trained, and what is doubtful about it.

    Args:
        config: The settings.
        ready: The data, and the length of the dense phase; with one, nothing is printed.
        dense: The network.
    """
    if not config.model.starts_trained or ready.trainer.dense_epochs:
        return
    data, part = ready.data, ready.data.validation
    outcome = keras_outcome(dense.model, part, data.spec, description="Evaluating as it came")
    task = task_of(dense.model, data.spec)
    reached, label = score(task, outcome, part.y).headline, HEADLINES[task.headline].label or task.headline
    console.print(f"As it came {label} {reached:.4f} on {len(part):,} validation examples")
    words = _other_words(config, ready)
    for said in (words, guessing(reached, data.spec, len(part))):
        if said:
            warn(f"Note       {said}")


def _other_words(config: Config, ready: Prepared) -> str:
    """What differs between the words of the data and those that lie beside the file of the network."""
    path = getattr(config.model, "path", None)
    if not path or ready.data.vocabulary is None:
        return ""
    beside = Path(expanded("model.path", str(path))).with_name(VOCABULARY)
    return other_words(beside, ready.data.vocabulary) if beside.is_file() else ""
