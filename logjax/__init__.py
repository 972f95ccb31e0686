"""Oversamples rare abnormal log lines, trains detectors on them, and reports the gain."""

__version__ = '0.1.0'
