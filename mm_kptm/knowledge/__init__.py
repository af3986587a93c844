"""The knowledge wing: entities and facts beside text."""
