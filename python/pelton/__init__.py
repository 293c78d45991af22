"""Pelton: one engine for asynchronous Python backends."""
