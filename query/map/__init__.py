"""Maps in two dimensions: drawn, stored, shown."""
