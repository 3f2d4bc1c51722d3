"""Sentences about the length of both phases, printed before a run."""

from collections.abc import Mapping

from pruneflow.datasets.batches import steps_per_epoch
from pruneflow.sparsity.schedules import Plan
from pruneflow.sparsity.sharing import Sharing
from pruneflow.training.lengths import FEWEST_STEPS, FEWEST_UPDATES
from pruneflow.training.quantization_aware import QuantizationAware
from pruneflow.training.trainer import Trainer

PHASES = {"dense_": "dense", "": "pruned"}  # by what the settings of their lengths begin with


def said(asked: Trainer, taken: Trainer, examples: int, *, phases: Mapping[str, str] = PHASES) -> list[str]:
    """Return a line for each phase: its epochs, steps and batches, and which of them were chosen here.

    Args:
        asked: The settings; null leaves a length open.
        taken: The same with every length a number.
        phases: Their names, as `PHASES`.
    """
    lines = [_said(name, prefix, asked, taken, examples) for prefix, name in phases.items()]
    return [line for line in lines if line]


def _said(name: str, prefix: str, asked: Trainer, taken: Trainer, examples: int) -> str:
    epochs, size = getattr(taken, f"{prefix}epochs"), getattr(taken, f"{prefix}batch_size")
    if not epochs:
        return "" if prefix == "dense_" else f"{name} at once, without training"
    each = steps_per_epoch(examples, size)
    line = f"{name} {epochs} x {each} steps = {epochs * each:,} steps, batches of {size}"
    chosen = {
        f"epochs by trainer.min_steps={asked.min_steps}": getattr(asked, f"{prefix}epochs") is None,
        "batches by the size of the data": getattr(asked, f"{prefix}batch_size") is None,
    }
    why = ", ".join(words for words, is_so in chosen.items() if is_so)
    return f"{line} ({why})" if why else line


def said_of_sharing(sharing: Sharing, taken: Trainer, examples: int) -> list[str]:
    """Return a line for the values that weights share; none where they do not.

    Args:
        taken: The settings of training with every length a number.
    """
    if sharing.values is None:
        return []
    epochs, each = sharing.epochs, steps_per_epoch(examples, taken.batch_size or 1)
    trained = f"{epochs} x {each} steps = {epochs * each:,} steps" if epochs else "no training"
    return [f"shared {trained}, {sharing.values} values or fewer in each pruned weight"]


def said_of_int8(aware: QuantizationAware, taken: Trainer, examples: int) -> list[str]:
    """Return a line for quantization-aware training; none where there is none.

    Args:
        taken: The settings of training with every length a number.
    """
    if not aware.epochs:
        return []
    each = steps_per_epoch(examples, taken.batch_size or 1)
    return [f"quantization-aware {aware.epochs} x {each} steps = {aware.epochs * each:,} steps"]


def doubts(asked: Trainer, plan: Plan) -> list[str]:
    """Return a sentence where the pruning phase is too short to make up for what pruning takes."""
    if asked.epochs == 0:
        return []
    steps, updates = plan.total_steps, len(plan.updates)
    few = {
        f"{_counted(steps, 'step')} (fewer than {FEWEST_STEPS})": steps < FEWEST_STEPS,
        f"{_counted(updates, 'mask update')} (fewer than {FEWEST_UPDATES})": updates < FEWEST_UPDATES,
    }
    found = " and ".join(words for words, is_so in few.items() if is_so)
    if not found:
        return []
    remedy = (
        f"Raise trainer.epochs={asked.epochs}, or set it to null."
        if asked.epochs is not None
        else "Raise trainer.min_steps."
    )
    if steps >= FEWEST_STEPS:
        remedy = "Lower schedule.frequency, or set it to auto."
    return [f"The pruning phase has {found}: the network may not recover what pruning takes. {remedy}"]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
