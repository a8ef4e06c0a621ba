"""What a recipe costs on a profile, before anybody pays: pure arithmetic over the graph. No torch, no Ray, no data."""
