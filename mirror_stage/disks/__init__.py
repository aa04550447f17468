"""How full each disk was, hour by hour, and when it will be full."""
