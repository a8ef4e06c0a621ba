"""What models from outside are asked for: scores of mined pairs, and pairs that they write."""
