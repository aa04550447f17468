"""The agent (REFLECTOR): runs on each watched host. Its only library is psutil, so it does not need Flask and EGO's others."""
