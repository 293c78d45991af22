"""Calling an app in tests, without a server: Starlette's."""

from starlette.testclient import TestClient as TestClient
