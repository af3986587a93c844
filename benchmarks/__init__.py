"""Is it fast, and does it stay fast: cases against careful peers, exact counts, and a history of records."""
