"""Demonstration on Number World: train all arms, measure effects, write a report."""
