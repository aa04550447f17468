"""The back-test: what a rule of alerts would have said of the past, from the minutes of the history."""
