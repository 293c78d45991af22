"""Dependency graphs: what an endpoint needs, read from signatures and solved per request."""
