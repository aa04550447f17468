"""The tests. Real parts, started by fixtures on free ports and stopped by their ids."""
