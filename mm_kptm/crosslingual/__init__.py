"""The cross-lingual wing: parallel text, languages, transfer."""
