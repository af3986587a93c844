"""Parts of single-stream encoders: VisualBERT, Oscar, VL-BERT, VLP and Pixel-BERT."""
