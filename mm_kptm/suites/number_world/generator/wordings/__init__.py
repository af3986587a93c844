"""Wordings of Number World: templates of its questions, statements and facts in five languages."""

__all__: list[str] = []
