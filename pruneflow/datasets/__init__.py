"""Data: one file an option, and the readers of each format below `reading`."""
