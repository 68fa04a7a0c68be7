"""Workflows of the commands that combine several steps, one file each."""
