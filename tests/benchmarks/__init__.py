"""Benchmarks: real parts under a measured load. `make bench`, `make bench-history`; figures to read, no tests that pass or fail."""
