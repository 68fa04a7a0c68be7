"""Public data: where it comes from, its hashes, and where it is kept."""
