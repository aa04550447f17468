"""What Prometheus asks EGO: EGO's own figures, those of the fleet, and where to find both."""
