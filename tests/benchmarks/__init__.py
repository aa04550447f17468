"""Benchmarks: real parts under a measured load (`make bench`, `make bench-history`). They print figures; they are no tests."""
