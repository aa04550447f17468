"""EGO signs its commands, so that agents run nobody else's."""
