"""The path of a sample: writer, edge, owner."""
