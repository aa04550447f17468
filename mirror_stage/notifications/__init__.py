"""Who is told of which alerts, and how each message gets there."""
