"""Cross-encoders behind the endpoint: query and document read together, one score."""
