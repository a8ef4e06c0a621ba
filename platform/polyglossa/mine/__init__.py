"""Hard negatives: embed every distinct text once, search exactly, choose by rules that know the positive, audit."""
