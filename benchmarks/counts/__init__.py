"""Exact counts of work: no clock."""
