"""Commands that count what a recipe costs, or would cost at another size."""
