"""Readers and writers of published region feature files, one module for each family."""
