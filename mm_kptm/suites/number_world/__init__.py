"""Number World: a synthetic multimodal, multilingual, knowledge-intensive benchmark."""
