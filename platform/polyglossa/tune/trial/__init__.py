"""One trial of a search: its processes, its student, its files, its score."""
