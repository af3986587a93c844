"""The vision wing: regions of images beside text."""
