"""Values and files below the models: tokenisers, readers and the order of examples."""
