"""The path of a sample: the writer queues it, the edge commits it, the owner folds it into the twin."""
