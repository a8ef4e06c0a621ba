"""Stage `train`: one member's model through one training stage."""
