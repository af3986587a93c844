"""Parts of two-stream encoders: ViLBERT, 12-in-1 and VOLTA."""
