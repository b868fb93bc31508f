"""Two encoders on the same rows: neighbors, scores, what differs."""
