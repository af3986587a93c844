"""Lexicons."""
