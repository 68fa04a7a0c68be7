"""How good a segmentation is: overlap, distances between surfaces, and statistics over cases."""
