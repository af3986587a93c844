"""Number World as datasets of tasks and objectives."""
