"""Samples: their fields, how EGO decodes them, and the route to which agents post them."""
