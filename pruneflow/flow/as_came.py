"""Print the accuracy of a network that came trained, before it is pruned for an hour."""

from dataclasses import replace
from pathlib import Path

from pruneflow.errors import ConfigError
from pruneflow.flow.config import Config
from pruneflow.flow.networks import Network
from pruneflow.flow.prepared import Prepared
from pruneflow.models.doubts import SAMPLED, better_reading, guessing, other_words
from pruneflow.models.keras_file import KerasFile
from pruneflow.models.pixels import Span, in_words
from pruneflow.models.tasks import task_of
from pruneflow.runtime.surroundings import expanded
from pruneflow.runtime.terminal import console, warn
from pruneflow.training.metrics import label_of
from pruneflow.training.scoring import keras_outcome, score

VOCABULARY = "vocabulary.json"
LOOK_FIRST = "Pruning cannot mend this; look for the cause first."


def show(config: Config, ready: Prepared, dense: Network) -> None:
    """Print the accuracy of a network that came trained, and what is doubtful about it.

    Args:
        ready: The data, and the length of the dense phase; with one, nothing is printed.
    """
    if not config.model.starts_trained or ready.trainer.dense_epochs:
        return
    data, part = ready.data, ready.data.validation
    outcome = keras_outcome(dense.model, part, data.spec, description="Evaluating as it came")
    task = task_of(dense.model, data.spec)
    reached = score(task, outcome, part.y).headline
    console.print(f"As it came {label_of(task.headline)} {reached:.4f} on {len(part):,} validation examples")
    doubt = guessing(reached, data.spec, len(part))
    if doubt:
        doubt = _with_reading(config, ready, dense, doubt)
    for said in (_other_words(config, ready), doubt):
        if said:
            warn(f"Note       {said}")


def _with_reading(config: Config, ready: Prepared, dense: Network, doubt: str) -> str:
    """Look whether the network knows the classes by pixels in another range.

    Raises:
        ConfigError: if it does, and neither its file nor a setting said in which.
    """
    model, spec, part = config.model, ready.data.spec, ready.data.validation.sampled(SAMPLED)
    if not isinstance(model, KerasFile) or model.span is None:
        return f"{doubt} {LOOK_FIRST}"
    low, high = model.span

    def accuracy_of(span: Span) -> float:
        given = ((span[0] - low) / (high - low), (span[1] - low) / (high - low))  # the network rescales them
        read = replace(spec, pixels=given)
        outcome = keras_outcome(dense.model, part, read, description=f"Reading pixels {in_words(span)}")
        return score(task_of(dense.model, spec), outcome, part.y).headline

    found = better_reading(accuracy_of, model.span, spec, len(part))
    if found and model.unsaid:
        problem = (
            f"{model.path} does not say which values its pixels have. It knows {found}, and guesses with "
        )
        raise ConfigError.of(
            "model.pixels", "null", f"{problem}pixels {in_words(model.span)}", f"Set {found.setting}."
        )
    return f"{doubt} It knows {found}: {found.setting}." if found else f"{doubt} {LOOK_FIRST}"


def _other_words(config: Config, ready: Prepared) -> str:
    """Return in words how the vocabulary of the data differs from the one beside the network's file."""
    path = getattr(config.model, "path", None)
    if not path or ready.data.vocabulary is None:
        return ""
    beside = Path(expanded("model.path", str(path))).with_name(VOCABULARY)
    return other_words(beside, ready.data.vocabulary) if beside.is_file() else ""
