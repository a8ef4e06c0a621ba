"""Layer exits: one pass gives the state that every shallower cut of the backbone would give (3-D Matryoshka's depth).

The exit after n layers goes through the backbone's own final norm, so the first n layers, kept by themselves, are a
stock model whose embedding is that exit's.
"""

_PUBLISHED = (1, 2, 4, 8, 16, 24, 32, 40, 48)


def exit_layers(layers: int) -> tuple[int, ...]:
    """Return the published exits (1, 2, 4, 8, 16, 24, 32, 40, 48) below the depth, and the depth itself."""
    return (*(depth for depth in _PUBLISHED if depth < layers), layers)
