"""What every room needs and what needs no room: instants, the clock, names, problems, settings, logs."""
