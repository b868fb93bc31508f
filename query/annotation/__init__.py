"""Annotators' work: what they are given, what they said, how far they agree."""
