"""k-NN localization at every neighborhood size: one search, all k, its scores and figure."""
