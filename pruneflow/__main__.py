"""``python -m pruneflow``."""

from pruneflow.cli import main

main()
