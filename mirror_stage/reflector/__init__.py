"""The agent: one per watched host. psutil and requests only; it runs where Flask is not installed."""
