"""`polyglossa cluster check`: whether a live cluster is what its spec and a profile say, and what to do where not."""
