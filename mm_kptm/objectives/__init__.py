"""Pretraining objectives: corruption of a batch, labels and losses."""
