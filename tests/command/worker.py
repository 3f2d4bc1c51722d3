"""The command line in a worker, which notes masks and weights at each update, and figures; run by tests.

python worker.py FILE OVERRIDE...
"""

import os
import sys
from hashlib import sha256
from pathlib import Path

from pruneflow.__main__ import main
from pruneflow.errors import PruneflowError
from pruneflow.sparsity.masked import Masked
from pruneflow.training.callbacks import Throughput
from pruneflow.training.fit import Fit


def noting(file):
    update = Masked.update

    def noted(self, step):
        update(self, step)
        arrays = [each.numpy() for one in self.weights for each in (one.mask, one.weight)]
        digests = [sha256(array.tobytes()).hexdigest() for array in arrays]
        with file.open("a") as notes:
            print(step, *digests, file=notes)

    Masked.update = noted


def showing(file):
    """Note the accuracy that is shown at the last step of each epoch, and that of the epoch."""
    step_end, epoch_end, latest = Throughput.on_train_batch_end, Throughput.on_epoch_end, {}

    def stepped(self, batch, logs=None):
        step_end(self, batch, logs)
        latest["accuracy"] = float(logs["accuracy"])

    def ended(self, epoch, logs=None):
        epoch_end(self, epoch, logs)
        with file.open("a") as notes:
            print(latest["accuracy"], float(logs["accuracy"]), file=notes)

    Throughput.on_train_batch_end, Throughput.on_epoch_end = stepped, ended


def failing():
    """Fail where all workers are about to train."""

    def fail(*_, **__):
        raise PruneflowError("no space for this training")

    Fit.run = fail


if __name__ == "__main__":
    if os.environ.get("FAILS"):
        failing()
    noting(Path(sys.argv[1]).absolute())
    showing(Path(sys.argv[1]).absolute().with_suffix(".figures"))
    del sys.argv[1]
    main()
