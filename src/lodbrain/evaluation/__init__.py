"""Evaluation of segmentations: overlap, surface distances, and statistics over cases."""
