"""Benchmarks of one CUDA device within ten minutes: ``python -m benchmarks.gpu``."""
