"""The command line in a worker, which notes its masks and weights at each update; run by tests.

python worker.py FILE OVERRIDE...
"""

import sys
from hashlib import sha256
from pathlib import Path

from pruneflow.__main__ import main
from pruneflow.sparsity.masked import Masked


def noting(file):
    update = Masked.update

    def noted(self, step):
        update(self, step)
        arrays = [each.numpy() for one in self.weights for each in (one.mask, one.weight)]
        digests = [sha256(array.tobytes()).hexdigest() for array in arrays]
        with file.open("a") as notes:
            print(step, *digests, file=notes)

    Masked.update = noted


if __name__ == "__main__":
    noting(Path(sys.argv[1]).absolute())
    del sys.argv[1]
    main()
