"""What every stage's `cost.py` is written with: work, devices, FLOPs, memory. Pure arithmetic, without torch or Ray."""
