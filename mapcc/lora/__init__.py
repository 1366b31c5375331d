"""Low-rank adapters through a mapping: the factors of a weight follow the weight's own moves."""
