"""Published vision-language systems."""
