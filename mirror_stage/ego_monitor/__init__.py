"""EGO shows its own machine in the twin: it submits a sample every few seconds, with the same checks as an agent's sample."""
