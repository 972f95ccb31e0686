"""From lines to examples: rows of numbers, and which of them train, validate and test."""
