"""Label maps made: of heads from scans, at another voxel size, around brains alone."""
