"""Any model as a giver of states: opened, held to sentence-transformers, and run over texts on the cluster."""
