"""Synthesis of images with labels from label maps."""
