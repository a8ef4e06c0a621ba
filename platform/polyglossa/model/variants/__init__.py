"""Changes to a backbone: low-rank additions and tables, layer exits, int8 weights."""
