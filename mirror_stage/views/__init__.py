"""Saved views of the HUD: a name for an address, shared by everybody."""
