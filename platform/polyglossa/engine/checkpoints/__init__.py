"""Training checkpoints, the index of those committed, and models exported from them."""
