"""The one encoder: tokenise → backbone → pool → truncate → normalise exists here and nowhere else."""
