"""Modules that every other package may import, and that import no other package: instants, clock, names, settings, logs …"""
