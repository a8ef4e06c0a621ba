"""Stage `corpus`: where rows come from, how they are cleaned, and an account of every row that was dropped."""
