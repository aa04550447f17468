"""All that decides who is told of which alerts, as one document that people keep in a file."""
