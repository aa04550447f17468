"""The past of the twin: the twin at a moment, the difference of two moments, and the timeline between them.

It reads the tables of the twin, the history, the alerts and the commands.
"""
