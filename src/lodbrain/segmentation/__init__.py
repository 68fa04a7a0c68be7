"""Segmentation of scans: inputs, settings, quality control, volumes and output files."""
