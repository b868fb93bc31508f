"""What `scripts/torture.py` is made of: a model in memory, operations, kills, faults and flipped bits."""
