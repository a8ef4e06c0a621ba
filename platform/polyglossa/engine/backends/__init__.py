"""Backends of the training engine: plain torch, and DeepSpeed ZeRO 0 to 3."""
