"""Files that other programs read, made from an atlas."""
