"""pruneflow: train, prune and export TensorFlow models, and say with numbers what was gained."""

__version__ = "0.1.0"
