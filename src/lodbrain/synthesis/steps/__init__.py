"""The steps of the generator, one file each.

Each file has two frozen dataclasses: a random step, which holds the ranges that it draws from, and the fixed step that
its `draw` returns, which holds plain numbers, can be written as JSON, and does the same each time it is applied. A
fixed step whose strength is zero returns the image it was given. Images are (..., X, Y, Z) float32 tensors on any
device: further axes, as of a batch or of several contrasts of one head, get the same step and noise of their own.
"""
