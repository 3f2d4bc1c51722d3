"""What was typed: help, checks, answers to mistakes, sweeps, searches and launchers."""
