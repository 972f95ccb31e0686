"""From a log file to token rows."""
