"""Number world."""
