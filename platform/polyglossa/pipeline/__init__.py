"""The pipeline: the graph of a recipe, the registry of stages, and what executes them."""
