"""Store to answers: search, votes, metrics, sweeps, the atlas façade."""
