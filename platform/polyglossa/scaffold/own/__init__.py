"""One's own rows for a fine-tuning: read, grouped, split into what trains and what judges, and written to a folder."""
