"""The live digital twin: every host and link as it is now."""
