"""Pretraining objectives of vision-language systems."""
