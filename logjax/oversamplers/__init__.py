"""From few abnormal rows to many."""
