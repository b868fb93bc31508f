"""Indices of an embedding table, FAISS files or on disk: kinds, building, recall, what they were made from."""
