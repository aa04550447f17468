"""The history: all acknowledged samples and their rollups, each tier kept for its own retention."""
