"""The way of a sample: writer, edge, owner."""
