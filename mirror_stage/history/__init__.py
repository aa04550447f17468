"""Every sample that was ever acknowledged, for as long as its tier keeps it."""
