"""Decoded images of an atlas kept raw, so that they need not be decoded again: derived, can always be made anew."""
