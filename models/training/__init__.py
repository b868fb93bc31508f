"""Training: heads on frozen embeddings, supervised and DINO fine-tuning, pretraining. Images in, weights out."""
