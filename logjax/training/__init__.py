"""What all models share: state, devices, the loop over epochs, checkpoints, progress."""
