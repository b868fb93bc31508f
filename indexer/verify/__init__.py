"""`locatlas verify`: find every flipped bit, missing file, duplicate, orphan and mismatch, and mend what can be."""
