"""A synthetic fleet that sends samples to EGO like real agents do. Serves as demo, load generator and test fixture."""
