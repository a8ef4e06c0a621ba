"""Sources of the corpus: files, data sets and embedded text as batches of candidates."""
