"""How EGO counts what happens, and the text in which Prometheus reads it. Imports nothing else of ours."""
