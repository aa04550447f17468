"""Several workers with one twin: who owns it, and what crosses between them."""
