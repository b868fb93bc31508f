"""FAISS files of an embedding table: kinds, building, recall, what they were made from."""
