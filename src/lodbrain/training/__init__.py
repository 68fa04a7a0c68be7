"""Training: pairs, losses, levels from coarse to fine, checkpoints."""
