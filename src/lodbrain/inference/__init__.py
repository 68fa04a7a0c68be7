"""Inference: labels, posteriors and soft volumes of an intensity array."""
