"""Parts: attention, sublayers, steps, embeddings, visibility, heads."""
