"""Networks, which see tensors only, and the zoo that names, verifies and loads their weights."""
