"""Objectives of cross-lingual pretraining."""
