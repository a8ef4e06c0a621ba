"""The search over recipes: `polyglossa run RECIPE --until tune`."""
