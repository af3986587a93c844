"""What each system is asked in its golden cases."""
