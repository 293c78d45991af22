"""`Loop`: the compiled core under asyncio's own unix event loop.

The core (`_core.BaseLoop`) replaces what runs per callback and per packet: scheduling, timers,
polling, watching descriptors, stream transports and listeners. What runs per connection or per
loop is asyncio's own code, so that it behaves as the running Python version does.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.constants
import asyncio.format_helpers
import asyncio.sslproto
import os
import selectors
import socket
import ssl
from collections.abc import Callable
from typing import Any

from pelton import _core
from pelton._loop.executor import DefaultExecutor
from pelton._loop.pipes import PipesMixin
from pelton._loop.sendfile import SendfileMixin
from pelton._loop.signals import SignalsMixin

# asyncio's own parts that no stub knows.
_base_events: Any = asyncio.base_events
_constants: Any = asyncio.constants
_format_helpers: Any = asyncio.format_helpers
_sslproto: Any = asyncio.sslproto


class _CoreSelector:
    """What asyncio's code takes for the loop's selector; the core does the watching."""

    def __init__(self, core: _core.BaseLoop) -> None:
        self._core = core

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """What a descriptor, or what has one, is watched for; asyncio's transports show it.

        KeyError for what is not watched, as by every selector.
        """
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        events = self._core._watched(fd)
        if not events:
            raise KeyError(f"{fileobj!r} is not registered")
        return selectors.SelectorKey(fileobj, fd, events, None)

    def close(self) -> None:
        self._core._close_core()


def _run_unless_cancelled(handle: asyncio.Handle) -> None:
    if not handle._cancelled:
        handle._run()


class Loop(PipesMixin, SendfileMixin, SignalsMixin, _core.BaseLoop, asyncio.SelectorEventLoop):  # type: ignore[misc]
    """An asyncio event loop on Pelton's compiled core.

    It is used as any asyncio loop is: by `pelton.run`, `asyncio.Runner(loop_factory=pelton.Loop)`
    or `pelton.install()`. Tasks and futures are asyncio's own.
    """

    # False keeps TLS off the direct calls of OpenSSL (see docs/design/tls.md).
    _tls_short_way = os.environ.get("PELTON_TLS") != "ssl"
    _default_executor: Any

    def __init__(self) -> None:
        self._listeners: dict[int, _core.ListenerHandle] = {}
        self._bind()
        self._look_at_clock()
        selector: Any = _CoreSelector(self)
        super().__init__(selector)

    # --- running ---------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        # Programs that control time replace `time` in the loop, or the loop's class.
        super().__setattr__(name, value)
        if name in {"time", "__class__"}:
            self._look_at_clock()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name == "time":
            self._look_at_clock()

    def _look_at_clock(self) -> None:
        replaced = "time" in vars(self) or type(self).time is not _core.BaseLoop.time
        self._set_core_clock(replaced)

    def run_forever(self) -> None:
        """Run until `stop` is called."""
        self._look_at_clock()  # the class may have been changed as well
        checks: Any = self
        checks._check_closed()
        checks._check_running()  # before anything is set up: 3.13.0 tears it down otherwise
        with self._signals_wake():
            super().run_forever()

    def stop(self) -> None:
        """Stop after the callbacks that are ready now."""
        super().stop()
        self._request_stop()

    # --- debug and errors ------------------------------------------------------------------------

    def set_debug(self, enabled: bool) -> None:
        """Turn debug mode on or off."""
        super().set_debug(enabled)
        self._set_core_debug(bool(enabled))

    def set_task_factory(self, factory: Any) -> None:
        """Set what `create_task` calls; None for `asyncio.Task`."""
        super().set_task_factory(factory)
        self._set_core_task_factory(factory is not None)

    def _callback_failed(self, handle: Any, exception: BaseException) -> None:
        source = _format_helpers._format_callback_source(handle._callback, handle._args)
        context = {
            "message": f"Exception in callback {source}",
            "exception": exception,
            "handle": handle,
        }
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _callback_was_slow(self, handle: asyncio.Handle, duration: float) -> None:
        _base_events.logger.warning(
            "Executing %s took %.3f seconds", _base_events._format_handle(handle), duration
        )

    def _protocol_was_slow(self, subject: str, duration: float) -> None:
        _base_events.logger.warning(
            "Executing a callback of %s took %.3f seconds", subject, duration
        )

    def _add_callback(self, handle: asyncio.Handle) -> None:
        """Queue a handle that asyncio's own code made (those of signals)."""
        if not handle._cancelled:
            self.call_soon(_run_unless_cancelled, handle)

    # --- executors -------------------------------------------------------------------------------

    def _run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """What the core leaves to asyncio: other executors, debug mode, and errors."""
        checks: Any = self
        if executor is None and self._default_executor is None:
            checks._check_closed()
            checks._check_default_executor()
            self._default_executor = DefaultExecutor()
            self._set_core_executor(self._default_executor.pool)
            if not self.get_debug():
                return self.run_in_executor(None, func, *args)
        # Not by the name of asyncio's loop, for which a program may have put this very class.
        return _base_events.BaseEventLoop.run_in_executor(self, executor, func, *args)

    def set_default_executor(self, executor: Any) -> None:
        """Have `run_in_executor(None, ...)` use this `ThreadPoolExecutor`."""
        super().set_default_executor(executor)
        ours = isinstance(executor, DefaultExecutor)
        self._set_core_executor(executor.pool if ours else None)

    def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> Any:
        """Wait until the default executor's threads have ended; it takes no more calls."""
        self._set_core_executor(None)
        return super().shutdown_default_executor(*args, **kwargs)

    # --- connections -----------------------------------------------------------------------------

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        asyncio_loop: Any = super()
        asyncio_loop._ensure_fd_no_transport(fd)  # ValueError for what is no descriptor
        if self._is_transport(fd if isinstance(fd, int) else int(fd.fileno())):
            raise RuntimeError(f"File descriptor {fd!r} is used by transport of this loop")

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        **others: Any,
    ) -> Any:
        if _has_own_calls(sock):
            asyncio_loop: Any = super()
            return asyncio_loop._make_socket_transport(
                sock, protocol, waiter, extra=extra, server=server, **others
            )
        return _core.StreamTransport(self, sock, protocol, waiter, extra, server)

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> _core.DatagramTransport:
        return _core.DatagramTransport(self, sock, protocol, address, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        **timeouts: Any,
    ) -> Any:
        if _has_own_calls(rawsock):
            asyncio_loop: Any = super()
            return asyncio_loop._make_ssl_transport(
                rawsock,
                protocol,
                sslcontext,
                waiter,
                server_side=server_side,
                server_hostname=server_hostname,
                extra=extra,
                server=server,
                **timeouts,
            )
        options = self._tls_options(sslcontext, server_side, server_hostname, **timeouts)
        return _core.TlsTransport.connect(self, rawsock, protocol, options, waiter, extra, server)

    def _tls_options(
        self,
        sslcontext: Any,
        server_side: bool,
        server_hostname: str | None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> _core.TlsOptions:
        if not sslcontext:  # a client's `ssl=True`
            sslcontext = _sslproto._create_transport_context(server_side, server_hostname)
        if ssl_handshake_timeout is None:
            ssl_handshake_timeout = _constants.SSL_HANDSHAKE_TIMEOUT
        if ssl_shutdown_timeout is None:
            ssl_shutdown_timeout = _constants.SSL_SHUTDOWN_TIMEOUT
        name = server_hostname if server_hostname and not server_side else None
        return _core.TlsOptions(
            sslcontext,
            server_side,
            name,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            self._tls_short_way,
        )

    async def start_tls(
        self,
        transport: Any,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Upgrade an open connection to TLS: the new transport, after the handshake.

        Over a transport that is not a plain connection of this loop (TLS in TLS, someone else's)
        it is asyncio's own. When it fails or is cancelled, the connection is closed.
        """
        if type(transport) is not _core.StreamTransport or not isinstance(
            sslcontext, ssl.SSLContext
        ):
            return await super().start_tls(
                transport,
                protocol,
                sslcontext,
                server_side=server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
        options = self._tls_options(
            sslcontext, server_side, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        waiter = self.create_future()
        upgraded = _core.TlsTransport.upgrade(transport, protocol, options, waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return upgraded

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        options = None
        if sslcontext:
            options = self._tls_options(
                sslcontext, True, None, ssl_handshake_timeout, ssl_shutdown_timeout
            )
        listener = _core.ListenerHandle(self, sock, protocol_factory, server, options)
        self._listeners[sock.fileno()] = listener

    def _stop_serving(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock.fileno(), None)
        if listener is not None:
            listener.stop()
        asyncio_loop: Any = super()
        asyncio_loop._stop_serving(sock)  # closes it, and removes a unix socket's file


def _has_own_calls(sock: socket.socket) -> bool:
    """Whether a socket's class reads or writes in a way of its own (one that counts, say): then
    asyncio's transport makes these calls. Ours calls the kernel on the descriptor."""
    kind = type(sock)
    if kind is socket.socket or not isinstance(sock, socket.socket):
        return False
    calls = ("recv", "recv_into", "send", "sendmsg")
    return any(getattr(kind, name) is not getattr(socket.socket, name) for name in calls)
