"""Oversamples rare abnormal log lines, trains detectors on them, and says what that bought."""

__version__ = '0.1.0'
