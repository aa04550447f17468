"""The pages for browsers: the HUD at `/` and the plain page at `/plain`."""
