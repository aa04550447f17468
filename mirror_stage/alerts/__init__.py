"""Alerts: what is wrong with which host, since when, and when it was over."""
