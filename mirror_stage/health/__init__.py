"""Whether EGO runs, whether it is ready, and which version and settings it has."""
