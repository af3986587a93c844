"""Experiments on pictures: the backbone before an encoder, the contract of features, questions asked and explained."""
