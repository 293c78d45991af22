"""Structured concurrency on stock asyncio tasks; `pelton` exports the names."""
