"""Benchmarks: a real EGO under a measured load. `make bench`; figures to read, no tests that pass or fail."""
