"""How right and how alike, as numbers with intervals; who is held against whom. Pure."""
