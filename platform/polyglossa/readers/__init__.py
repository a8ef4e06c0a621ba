"""Read tables from files: one set of rules for `init`, the corpus, evaluation and decontamination."""
