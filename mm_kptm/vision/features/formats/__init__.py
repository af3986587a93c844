"""Readers and writers of published region feature files, one module per family."""
