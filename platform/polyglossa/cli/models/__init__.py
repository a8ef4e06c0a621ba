"""Commands that make models and serve them."""
