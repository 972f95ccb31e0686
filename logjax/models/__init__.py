"""Networks used by several detectors and oversamplers, each for ONE example."""
