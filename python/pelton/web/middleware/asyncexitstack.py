"""A stack in the ASGI scope that is closed when the request is over."""

from contextlib import AsyncExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

FILES_STACK = "fastapi_middleware_astack"
"""Key in the ASGI scope: what is closed last, such as uploaded files."""


class AsyncExitStackMiddleware:
    """Puts an `AsyncExitStack` into the scope under `context_name` while `app` runs."""

    def __init__(self, app: ASGIApp, context_name: str = FILES_STACK) -> None:
        self.app = app
        self.context_name = context_name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs `app`, then closes the stack."""
        async with AsyncExitStack() as stack:
            scope[self.context_name] = stack
            await self.app(scope, receive, send)
