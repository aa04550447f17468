"""The past of the twin: as it was at any moment, what changed between two, and what happened along the way.

It reads what several domains keep, as the pipeline writes it.
"""
