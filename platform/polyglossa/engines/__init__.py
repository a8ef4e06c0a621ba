"""What a replica computes with: the package's own forward pass, an export, vLLM, or another server."""
