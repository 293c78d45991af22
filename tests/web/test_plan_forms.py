"""Forms and files: every path gives the endpoint the same, and the same errors."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from pelton.web import Depends, FastAPI, File, Form, HTTPException, Request, UploadFile
from pelton.web.exceptions import RequestValidationError
from pelton.web.responses import JSONResponse
from tests.web.plan_paths import check, has_plan

notes: list[Any] = []
app = FastAPI()


class Person(BaseModel):
    model_config = {"extra": "forbid"}
    name: str
    age: int = 3
    tags: list[str] = []


@app.post("/fields")
async def fields(
    one: Annotated[str, Form()], two: Annotated[int, Form(alias="2")] = 2, q: int = 0
) -> Any:
    return [one, two, q]


@app.post("/model")
async def model(person: Annotated[Person, Form()]) -> Any:
    return person


@app.post("/files")
async def files(
    request: Request,
    raw: Annotated[bytes, File()],
    several: list[UploadFile],
    note: Annotated[str | None, Form()] = None,
) -> Any:
    form = await request.form()
    notes.append([value.file for value in form.getlist("several")])  # type: ignore[union-attr]
    contents = [(await one.read()).decode() for one in several]
    return [raw.decode(), contents, [one.filename for one in several], note]


async def below(token: Annotated[str, Form()]) -> str:
    return token


@app.post("/dependency")
async def of_dependency(name: Annotated[str, Form()], token: Annotated[str, Depends(below)]) -> Any:
    return [name, token]


@app.post("/blocking")
def blocking(upload: UploadFile) -> Any:
    return upload.file.read().decode()


@app.post("/raises")
async def raises(upload: UploadFile) -> Any:
    notes.append(upload.file)
    raise HTTPException(418, upload.filename)


@app.exception_handler(RequestValidationError)
async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """Says what the body was: a form, whose files are still open."""
    body = error.body
    found = {name: getattr(value, "filename", value) for name, value in dict(body or {}).items()}
    return JSONResponse({"errors": error.errors(), "body": found}, status_code=422)


URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


def part(name: str, value: str, filename: str | None = None) -> bytes:
    extra = "" if filename is None else f'; filename="{filename}"\r\ncontent-type: text/plain'
    return (
        f'--b\r\ncontent-disposition: form-data; name="{name}"{extra}\r\n\r\n{value}\r\n'.encode()
    )


FILES = part("raw", "bytes", "r.txt") + part("several", "1", "a") + part("several", "2", "b")
END = b"--b--\r\n"


@pytest.mark.parametrize("path", ["/fields?q=1", "/fields?q=x", "/model", "/dependency"])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (URLENCODED, b"one=a+b&2=5&name=n&token=t"),
        (URLENCODED, b"one=&2=x&name="),
        (URLENCODED, b"name=n&age=4&tags=a&tags=b"),
        (URLENCODED, b"name=n&age=x"),
        (URLENCODED, b""),
        (MULTIPART, part("name", "n") + part("token", "t") + part("one", "1") + END),
        (MULTIPART, b"no form at all"),
        ({"content-type": "multipart/form-data"}, END),
        ({"content-type": "application/json"}, b'{"one": 1}'),
        ({}, b"one=1"),
    ],
)
def test_of_fields(path: str, headers: dict[str, str], body: bytes) -> None:
    assert has_plan(app, path.partition("?")[0])
    headers = {**headers, "content-length": str(len(body))}
    check(app, "POST", path, headers=headers, body=body)


@pytest.mark.parametrize("path", ["/files", "/blocking", "/raises"])
@pytest.mark.parametrize(
    "body",
    [
        FILES + END,
        FILES + part("note", "n") + part("upload", "content", "u.txt") + END,
        part("upload", "no file") + part("raw", "text") + END,
        b"",
    ],
)
def test_of_files(path: str, body: bytes) -> None:
    headers = {**MULTIPART, "content-length": str(len(body))}
    check(app, "POST", path, headers=headers, body=body, notes=[])


def test_files_are_closed_in_the_end() -> None:
    body = FILES + part("upload", "content", "u.txt") + END
    headers = {**MULTIPART, "content-length": str(len(body))}
    notes.clear()
    check(app, "POST", "/files", headers=headers, body=body)
    check(app, "POST", "/raises", headers=headers, body=body)
    kept = [file for item in notes for file in (item if isinstance(item, list) else [item])]
    assert len(kept) == 9
    assert all(file.closed for file in kept)


def test_long_forms() -> None:
    body = b"one=" + b"x" * (3 << 20)
    headers = {**URLENCODED, "content-length": str(len(body))}
    check(app, "POST", "/fields", headers=headers, body=body)
    upload = part("upload", "y" * (3 << 20), "u.txt") + END
    headers = {**MULTIPART, "content-length": str(len(upload))}
    check(app, "POST", "/blocking", headers=headers, body=upload)


def test_a_form_and_its_errors_come_in_order() -> None:
    headers = {**URLENCODED, "content-length": "5"}
    outcome = check(app, "POST", "/dependency", headers=headers, body=b"x=y&z")
    places = [error["loc"] for error in json.loads(outcome.body)["errors"]]
    assert places == [["body", "token"], ["body", "name"]]
