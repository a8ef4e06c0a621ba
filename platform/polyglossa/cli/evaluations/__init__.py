"""Commands that evaluate models and compare what came out."""
