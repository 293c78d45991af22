"""Users: registering, logging in, and who is asking."""

import asyncio
import sqlite3
import time
from typing import Annotated

import aiosqlite
import jwt
from pwdlib import PasswordHash
from pydantic import BaseModel, StringConstraints

import database
import settings
from pelton.web import APIRouter, Depends, HTTPException
from pelton.web.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm

router = APIRouter(tags=["accounts"])
bearer = OAuth2PasswordBearer(tokenUrl="token")
hasher = PasswordHash.recommended()
secret = settings.secret()
# Checked when the name is unknown, so that a wrong name takes as long as a wrong password.
nobody = hasher.hash("nobody")

Database = Annotated[aiosqlite.Connection, Depends(database.session)]


class NewUser(BaseModel):
    """What registering takes."""

    name: Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{1,30}$")]
    password: Annotated[str, StringConstraints(min_length=8, max_length=200)]


class User(BaseModel):
    """Who is asking."""

    id: int
    name: str


class Token(BaseModel):
    """What logging in gives; the form is OAuth 2's."""

    access_token: str
    token_type: str = "bearer"


@router.post("/register", status_code=201)
async def register(new: NewUser, db: Database) -> Token:
    """Makes a user and logs in."""
    password = await asyncio.to_thread(hasher.hash, new.password)  # slow on purpose
    try:
        cursor = await db.execute(
            "INSERT INTO users (name, password) VALUES (?, ?)", (new.name, password)
        )
    except sqlite3.IntegrityError:
        raise HTTPException(409, "That name is taken.") from None
    assert cursor.lastrowid is not None
    return token_for(User(id=cursor.lastrowid, name=new.name))


@router.post("/token")
async def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()], db: Database) -> Token:
    """Gives a bearer token for name and password."""
    found = await db.execute_fetchall("SELECT * FROM users WHERE name = ?", (form.username,))
    row = next(iter(found), None)
    expected = nobody if row is None else row["password"]
    right = await asyncio.to_thread(hasher.verify, form.password, expected)
    if row is None or not right:
        raise HTTPException(401, "Name or password is wrong.", {"WWW-Authenticate": "Bearer"})
    return token_for(User(id=row["id"], name=row["name"]))


def token_for(user: User) -> Token:
    """A signed token that says who it is for."""
    claims = {
        "sub": str(user.id),
        "name": user.name,
        "exp": int(time.time()) + settings.TOKEN_HOURS * 3600,
    }
    return Token(access_token=jwt.encode(claims, secret, "HS256"))


def user_of(token: str) -> User:
    """Whom a token was given to; jwt.InvalidTokenError if it is none of ours, or too old."""
    claims = jwt.decode(token, secret, ["HS256"], options={"require": ["exp", "sub"]})
    return User(id=int(claims["sub"]), name=claims["name"])


async def current_user(token: Annotated[str, Depends(bearer)]) -> User:
    """The user of the request, or 401."""
    try:
        return user_of(token)
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Please log in again.", {"WWW-Authenticate": "Bearer"}) from None


CurrentUser = Annotated[User, Depends(current_user)]
