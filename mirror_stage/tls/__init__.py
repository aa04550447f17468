"""The certificate that EGO shows, and the authority that issues it."""
