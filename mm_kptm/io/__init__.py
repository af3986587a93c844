"""Input and output: atomic writing, JSON records with line numbers, tensors, text files."""
