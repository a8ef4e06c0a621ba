"""The graph as tasks of a cluster: what starts when, what a task does, who ran when."""
