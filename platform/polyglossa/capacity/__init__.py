"""Estimate what a recipe costs on a profile: pure arithmetic over the graph. No torch, no Ray, no data."""
