"""Which hosts may take part: their agents, the codes with which they enrol, and the labels that an admin has pinned."""
