"""The audit of mined negatives, as figures and as a page."""
