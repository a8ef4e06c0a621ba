"""Models under evaluation: directories, endpoints, and their states."""
