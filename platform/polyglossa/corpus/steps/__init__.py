"""Steps of the corpus stage: the work of one task in each."""
