"""Networks that several parts share, each for ONE example."""
