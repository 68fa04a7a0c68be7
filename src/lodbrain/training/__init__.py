"""Training: pairs of image and target, losses, levels from coarse to fine, checkpoints."""
