"""From texts of many requests to batches of one member, and back."""
