"""One fit: optimizer, batches, callbacks, checkpoints, and curves for TensorBoard."""
