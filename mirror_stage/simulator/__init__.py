"""A synthetic fleet that speaks to EGO over the wire of real agents: demo, load generator and test fixture in one."""
