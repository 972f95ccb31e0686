"""SeqGAN: a generator of token rows trained against a discriminator."""
