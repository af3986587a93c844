"""Contrastive systems: two towers for images and texts, and encoders of images alone."""

__all__: list[str] = []
