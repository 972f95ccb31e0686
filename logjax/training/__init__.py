"""Shared by all models: state, devices, the loop over epochs, checkpoints, progress."""
