"""Benchmarks: how fast SeqGAN is, and how well it learns what an oracle writes."""
