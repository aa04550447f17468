"""The version of EGO, its agent and its simulator."""

VERSION = "0.1.0"
