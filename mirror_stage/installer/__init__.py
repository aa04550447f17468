"""What a host downloads from EGO to be monitored: the script to paste, and the wheels of the agent."""
