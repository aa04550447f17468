"""When nobody is told although something is wrong: silences, maintenance and mute times."""
