"""Stage `distill`: the teacher store, one vector of the teacher for every text of a pack."""
