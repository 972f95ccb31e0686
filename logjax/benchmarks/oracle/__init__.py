"""SeqGAN's synthetic benchmark: rows of a random LSTM, the oracle, are learned and judged."""
