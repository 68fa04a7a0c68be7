"""Compound commands, one file each."""
