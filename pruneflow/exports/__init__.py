"""TFLite files: how they are made, read, run, timed, and what is proved of them."""
