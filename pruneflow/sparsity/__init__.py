"""Schedules, zeros counted, and the adapter to tfmot."""
