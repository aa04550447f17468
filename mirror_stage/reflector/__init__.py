"""The agent: one per watched host. psutil only; it runs where Flask is not installed."""
