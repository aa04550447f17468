"""Samples: what one is, how it is decoded, and the door through which agents post them."""
