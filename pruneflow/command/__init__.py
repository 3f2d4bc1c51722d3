"""The command line: help, checks, answers to mistakes, sweeps, searches and launchers."""
