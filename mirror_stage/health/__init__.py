"""Whether EGO lives, whether it is ready, and what it is."""
