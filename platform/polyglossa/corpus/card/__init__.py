"""The corpus card: what the corpus holds, as figures and as a page."""
