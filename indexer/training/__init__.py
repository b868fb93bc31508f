"""Training on the images of an atlas: asked for, begun, run, its result."""
