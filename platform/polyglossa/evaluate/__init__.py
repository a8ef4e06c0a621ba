"""Stage `evaluate`: every model judged through mteb, on tasks made here or by name."""
