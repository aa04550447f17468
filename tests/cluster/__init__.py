"""Several workers with one twin."""
