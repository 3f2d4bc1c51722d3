"""Choose the epochs of a phase that no setting gives: enough for some hundred steps."""

from dataclasses import dataclass

from pruneflow.datasets.batches import steps_per_epoch

STEPS_OF_EPOCH = 20  # where an epoch has fewer, batches are halved
LEAST_BATCH = 8
FEWEST_STEPS, FEWEST_UPDATES = 100, 10  # of a pruning phase; with fewer there is a warning


@dataclass(frozen=True)
class Usual:
    """The length of a phase on many examples, as in the guide "Pruning in Keras"."""

    epochs: int
    batch_size: int

    def batch_size_for(self, examples: int) -> int:
        """Halve the batches until an epoch has 20 steps, or a batch 8 examples.

        >>> PRUNED.batch_size_for(54000), PRUNED.batch_size_for(432), PRUNED.batch_size_for(40)
        (128, 16, 8)
        """
        size = self.batch_size
        while size > LEAST_BATCH and steps_per_epoch(examples, size) < STEPS_OF_EPOCH:
            size //= 2
        return max(1, min(size, examples))

    def epochs_for(self, examples: int, *, batch_size: int, least_steps: int) -> int:
        """Add epochs until the phase has enough steps.

        >>> PRUNED.epochs_for(54000, batch_size=128, least_steps=500)
        2
        >>> PRUNED.epochs_for(432, batch_size=16, least_steps=500)  # 27 steps each
        19
        """
        return max(self.epochs, -(-least_steps // max(1, steps_per_epoch(examples, batch_size))))


DENSE, PRUNED = Usual(epochs=4, batch_size=32), Usual(epochs=2, batch_size=128)
