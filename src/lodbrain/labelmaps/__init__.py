"""Creation of label maps: from scans of heads, at another voxel size."""
