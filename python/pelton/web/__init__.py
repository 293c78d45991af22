"""The web framework: FastAPI's surface (0.163.2), on Starlette's types and Pydantic 2.

A FastAPI program runs after ``fastapi`` becomes ``pelton.web`` in its imports.
"""

from starlette import status as status

from .applications import FastAPI as FastAPI
from .background import BackgroundTasks as BackgroundTasks
from .datastructures import UploadFile as UploadFile
from .exceptions import HTTPException as HTTPException
from .exceptions import WebSocketException as WebSocketException
from .guard import ConcurrencyLimit as ConcurrencyLimit
from .guard import Deadline as Deadline
from .guard import RateLimit as RateLimit
from .guard import by_client as by_client
from .guard import by_header as by_header
from .guard import deadline as deadline
from .param_functions import Body as Body
from .param_functions import Cookie as Cookie
from .param_functions import Depends as Depends
from .param_functions import File as File
from .param_functions import Form as Form
from .param_functions import Header as Header
from .param_functions import Path as Path
from .param_functions import Query as Query
from .param_functions import Security as Security
from .requests import Request as Request
from .responses import Response as Response
from .routing import APIRouter as APIRouter
from .websockets import WebSocket as WebSocket
from .websockets import WebSocketDisconnect as WebSocketDisconnect

FASTAPI_VERSION = "0.163.2"
"""The version of FastAPI whose contract this package is held to."""

__version__ = FASTAPI_VERSION
"""What programs that check FastAPI's version read."""
