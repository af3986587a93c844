"""Losses on encoded batches, and how a batch becomes a puzzle."""
