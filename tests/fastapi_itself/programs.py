"""Programs on FastAPI itself, as its users write them; each is an app of this module."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import fastapi
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    Security,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials, SecurityScopes
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.middleware.sessions import SessionMiddleware

FOLDER = Path(tempfile.gettempdir()) / "pelton-fastapi-itself"
FOLDER.mkdir(exist_ok=True)
(FOLDER / "file.txt").write_text("0123456789" * 1000)

# --- parameters ---------------------------------------------------------------------------------

parameters = FastAPI()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@parameters.get("/items/{number}")
async def read_item(
    number: int,
    colour: Colour = Colour.RED,
    tags: Annotated[list[str], Query()] = [],  # noqa: B006 - as the tutorial has it
    x_token: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    return {"number": number, "colour": colour, "tags": tags, "token": x_token}


@parameters.get("/files/{path:path}")
def read_path(path: str) -> str:
    return path


# --- models -------------------------------------------------------------------------------------

models = FastAPI()


class User(BaseModel):
    name: str = Field(min_length=2)
    age: int = Field(ge=0)
    friends: list[User] = []


class Public(BaseModel):
    name: str


@models.post("/users", status_code=201, response_model=Public)
async def create(user: User) -> User:
    return user


@models.put("/users/{name}")
def replace(name: str, user: User, response: Response) -> list[User]:
    response.headers["X-Name"] = name
    return [user, *user.friends]


# --- dependencies -------------------------------------------------------------------------------

dependencies = FastAPI()
closed: list[str] = []


async def session() -> AsyncIterator[str]:
    try:
        yield "session"
    finally:
        closed.append("session")


def paging(limit: int = 10, offset: int = 0) -> tuple[int, int]:
    return limit, offset


@dependencies.get("/")
async def depend(
    one: Annotated[str, Depends(session)], two: Annotated[tuple[int, int], Depends(paging)]
) -> list[Any]:
    return [one, *two]


@dependencies.get("/closed")
async def show_closed() -> int:
    return len(closed)


@dependencies.get("/fails")
async def fails(one: Annotated[str, Depends(session)]) -> None:
    raise HTTPException(418, f"{one} is a teapot", headers={"X-Pot": "tea"})


# --- forms and files ----------------------------------------------------------------------------

forms = FastAPI()


@forms.post("/login")
async def login(name: Annotated[str, Form()], secret: Annotated[str, Form(min_length=3)]) -> str:
    return f"{name}:{len(secret)}"


@forms.post("/upload")
async def upload(
    files: Annotated[list[UploadFile], File()], note: Annotated[str, Form()] = ""
) -> list[Any]:
    return [note, [[file.filename, file.content_type, len(await file.read())] for file in files]]


# --- answers of many kinds ----------------------------------------------------------------------

answers = FastAPI()


@answers.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(pieces(), media_type="text/plain")


@answers.get("/file")
async def file() -> FileResponse:
    return FileResponse(FOLDER / "file.txt")


@answers.get("/moved")
async def moved() -> RedirectResponse:
    return RedirectResponse("/file")


@answers.delete("/nothing", status_code=204)
async def nothing() -> None:
    return None


@answers.get("/cookie")
async def cookie(response: Response) -> str:
    response.set_cookie("a", "b", httponly=True)
    return "set"


@answers.get("/broken")
async def broken() -> None:
    raise RuntimeError("broken")


answers.mount("/static", StaticFiles(directory=FOLDER))

# --- middleware ---------------------------------------------------------------------------------

middleware = FastAPI()
middleware.add_middleware(GZipMiddleware, minimum_size=100)
middleware.add_middleware(CORSMiddleware, allow_origins=["http://a"], allow_methods=["*"])
middleware.add_middleware(SessionMiddleware, secret_key="secret")


@middleware.middleware("http")
async def adds(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["X-Path"] = request.url.path
    return response


@middleware.get("/long")
async def long() -> str:
    return "long " * 1000


@middleware.get("/session")
async def count(request: Request) -> int:
    request.session["n"] = request.session.get("n", 0) + 1
    number: int = request.session["n"]
    return number


# --- security -----------------------------------------------------------------------------------

secured = FastAPI()
basic = HTTPBasic()


@secured.get("/me")
def me(credentials: Annotated[HTTPBasicCredentials, Depends(basic)]) -> str:
    if credentials.password != "right":
        raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
    return credentials.username


async def scoped(scopes: SecurityScopes) -> list[str]:
    return scopes.scopes


@secured.get("/scopes")
async def show_scopes(found: Annotated[list[str], Security(scoped, scopes=["a", "b"])]) -> Any:
    return found


# --- background tasks ---------------------------------------------------------------------------

background = FastAPI()
done: list[int] = []


@background.post("/work")
async def work(tasks: BackgroundTasks) -> str:
    tasks.add_task(done.append, 1)
    return "accepted"


@background.get("/done")
async def show_done() -> int:
    # It runs after its answer: a client may ask before it has.
    while not done:  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(0.001)
    return len(done)


# --- lifespan -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    yield {"state": "of the lifespan"}


living = FastAPI(lifespan=lifespan)


@living.get("/state")
async def state(request: Request) -> str:
    found: str = request.state.state
    return found


# --- routers and sub-applications ---------------------------------------------------------------

routed = FastAPI()
router = APIRouter(prefix="/api", tags=["api"])
inner = FastAPI()


@router.get("/things/{thing}")
async def thing(thing: str, request: Request) -> dict[str, str]:
    return {"thing": thing, "url": str(request.url_for("thing", thing="x").path)}


@inner.get("/")
async def root(request: Request) -> str:
    path: str = request.scope["root_path"]
    return path


routed.include_router(router)
routed.mount("/inner", inner)

# --- WebSockets ---------------------------------------------------------------------------------

sockets = FastAPI()


@sockets.websocket("/echo/{name}")
async def echo(websocket: WebSocket, name: str) -> None:
    await websocket.accept(subprotocol=next(iter(websocket.scope["subprotocols"]), None))
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(f"{name}: {await websocket.receive_text()}")


@sockets.websocket("/denied")
async def denied(websocket: WebSocket) -> None:
    await websocket.close(1008)


# --- errors -------------------------------------------------------------------------------------

errors = FastAPI()


class Unusual(Exception):
    """Of this program."""


@errors.exception_handler(Unusual)
async def handle(request: Request, error: Unusual) -> Response:
    return Response(f"unusual: {request.url.path}", 409)


@errors.get("/unusual")
def unusual() -> None:
    raise Unusual


@errors.get("/request")
async def what(request: Request) -> dict[str, Any]:
    scope = request.scope
    return {
        "version": scope["http_version"],
        "path": scope["path"],
        "raw": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
        "body": (await request.body()).decode(),
        "fastapi": fastapi.__version__,
    }
