"""Adaptation: modules that add knowledge to a pretrained encoder without changing its layers."""
