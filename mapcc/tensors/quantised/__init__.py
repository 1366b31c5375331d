"""Containers of quantised weights: which there are, which tensors of a key set are in one, in words."""
