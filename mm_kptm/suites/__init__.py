"""Benchmark suites that ship with the package."""
