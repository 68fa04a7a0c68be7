"""Acquisition and processing effects of the generator, one file each.

Each file has two frozen dataclasses: a random step, which holds the ranges of its parameters, and the fixed step that
its `draw` returns, which holds the sampled numbers, can be written as JSON, and is deterministic. A fixed step of
strength zero returns its input image. Images are (..., X, Y, Z) float32 tensors on any device: leading axes, such as a
batch or several contrasts of one head, share the step's parameters, and each has its own noise.
"""
