"""Commands: queued for a host, claimed by its agent, run at most once, answered, and never forgotten in between."""
