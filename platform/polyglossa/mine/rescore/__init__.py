"""A second opinion on mined candidates: score each with its query, refuse what is no negative, keep the scores."""
