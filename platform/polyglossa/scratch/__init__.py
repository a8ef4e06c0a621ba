"""Work of a stage in bounded pieces, kept beside its artifact until all of it is done."""
