"""From a field of view to its cells: masks that are given or made, their regions, and how they are stored."""
