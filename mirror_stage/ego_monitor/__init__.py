"""EGO as a host of its own twin: a sample of this machine every few seconds, through the same door as an agent's."""
