"""The flow of one run: one file a stage, and the result."""
