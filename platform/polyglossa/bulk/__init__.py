"""A corpus through a model: files of texts in, files of vectors out, on Ray Data."""
