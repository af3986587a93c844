"""Shapes of models: a single stream, two streams, and the system that joins an encoder with its heads."""
