"""Routes: path operations, WebSockets, routers inside routers, and how requests reach them."""

from starlette.routing import Mount as Mount

from ..dependencies.solve import solve_dependencies as solve_dependencies
from .handler import get_request_handler as get_request_handler
from .handler import get_websocket_app as get_websocket_app
from .handler import request_response as request_response
from .handler import websocket_session as websocket_session
from .included import RouteContext as RouteContext
from .included import iter_route_contexts as iter_route_contexts
from .route import APIRoute as APIRoute
from .router import APIRouter as APIRouter
from .serialize import run_endpoint_function as run_endpoint_function
from .serialize import serialize_response as serialize_response
from .websocket import APIWebSocketRoute as APIWebSocketRoute
