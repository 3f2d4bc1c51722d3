"""Readers of the formats that data come in, one file a format; checks; caches; downloads."""
