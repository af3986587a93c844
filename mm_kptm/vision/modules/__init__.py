"""Parts of vision-language encoders and their heads."""
