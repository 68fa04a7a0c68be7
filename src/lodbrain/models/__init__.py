"""Networks, which process tensors only, and the zoo that names, verifies and loads their weights."""
