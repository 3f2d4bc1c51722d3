"""The machine: files, processes, memory, signals, the terminal, and the libraries' backends."""
