"""The shell that every HTML page stands in: head, style, light and dark, small helpers of its scripts."""
