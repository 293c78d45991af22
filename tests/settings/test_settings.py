"""Settings: where they come from, what is said of wrong ones, and that secrets stay secret."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings

from pelton.settings import InvalidSettings, Settings, SettingsConfigDict, settings_of
from pelton.web import Depends, FastAPI
from pelton.web.testclient import TestClient

ROOT = Path(__file__).parents[2]


class Pool(BaseModel):
    """A nested model."""

    size: int = 5
    timeout: float = 1.0


class ShopSettings(Settings):
    """What most tests read."""

    model_config = SettingsConfigDict(env_prefix="SHOP_", env_nested_delimiter="__")

    database_url: str
    workers: int = 2
    admin_key: SecretStr = SecretStr("default-key")
    api_token: str = ""
    hosts: list[str] = Field(default_factory=list)
    pool: Pool = Pool()
    mode: str = Field("dev", validation_alias=AliasChoices("SHOP_ENVIRONMENT", "ENVIRONMENT"))


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    ShopSettings.forget()


def by_name(cls: type[BaseSettings]) -> dict[str, tuple[str | None, str]]:
    return {setting.name: (setting.source, setting.text) for setting in settings_of(cls)}


def test_values_are_read_and_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SHOP_DATABASE_URL": "sqlite:///shop.db",
        "SHOP_WORKERS": "4",
        "SHOP_HOSTS": '["a", "b"]',
        "SHOP_POOL__SIZE": "9",
        "ENVIRONMENT": "live",
    }.items():
        monkeypatch.setenv(name, value)
    settings = ShopSettings()
    assert (settings.workers, settings.hosts, settings.pool.size) == (4, ["a", "b"], 9)
    assert settings.mode == "live"
    assert ShopSettings(workers=8).workers == 8


def test_each_source_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/shop_api_token").write_text("from the directory")
    (tmp_path / ".env").write_text("SHOP_WORKERS=3\nSHOP_DATABASE_URL=postgres://me:pw@db/shop\n")
    monkeypatch.setenv("SHOP_HOSTS", "[]")
    monkeypatch.setenv("SHOP_WORKERS", "7")

    class Local(ShopSettings):
        model_config = SettingsConfigDict(
            env_prefix="SHOP_", env_file=".env", secrets_dir=str(tmp_path / "secrets")
        )

    settings = Local()
    assert (settings.workers, settings.api_token) == (7, "from the directory")
    assert by_name(Local) == {
        "database_url": (".env", "postgres://me:**********@db/shop"),
        "workers": ("environment", "7"),
        "admin_key": ("default", "**********"),
        "api_token": (str(tmp_path / "secrets"), "**********"),
        "hosts": ("environment", "[]"),
        "pool": ("default", "Pool(size=5, timeout=1.0)"),
        "mode": ("default", "dev"),
    }
    variables = {setting.name: setting.variables for setting in settings_of(Local)}
    assert variables["workers"] == ("SHOP_WORKERS",)
    assert variables["mode"] == ("SHOP_ENVIRONMENT", "ENVIRONMENT")


def test_an_error_names_each_variable_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_WORKERS", "four")
    monkeypatch.setenv("SHOP_POOL__SIZE", "many")

    class Local(ShopSettings):
        model_config = SettingsConfigDict(env_file="missing.env", env_prefix="SHOP_")

    with pytest.raises(InvalidSettings) as caught:
        Local()
    text = str(caught.value)
    assert text.startswith("Local: 3 settings are missing or wrong\n")
    assert "SHOP_DATABASE_URL is missing: set it in the environment or missing.env" in text
    assert "(which is not there)" in text
    assert "SHOP_WORKERS: Input should be a valid integer" in text
    assert "(it is four, from environment)" in text
    assert "SHOP_POOL['size']: Input should be a valid integer" in text
    assert len(caught.value.problems) == 3


def test_what_is_no_json_and_what_nobody_declared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", "x")
    monkeypatch.setenv("SHOP_HOSTS", "a,b")
    with pytest.raises(InvalidSettings, match="SHOP_HOSTS must be JSON, and cannot be read"):
        ShopSettings()
    monkeypatch.delenv("SHOP_HOSTS")
    (tmp_path / ".env").write_text("SHOP_WORKER=3\n")

    class Local(ShopSettings):
        model_config = SettingsConfigDict(env_file=".env")

    with pytest.raises(InvalidSettings, match=r"(?i)shop_worker is no setting of Local"):
        Local()


def test_validators_of_the_whole_are_told_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Settings):
        low: int = 5
        high: int = 3

        @model_validator(mode="after")
        def ordered(self) -> Local:
            if self.low > self.high:
                raise ValueError("low must not be above high")
            return self

    with pytest.raises(InvalidSettings, match="low must not be above high"):
        Local()


def test_secrets_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Settings):
        admin_key: SecretStr
        password: int = 0
        api_token: str = ""
        monkey: str = "banana"

    monkeypatch.setenv("ADMIN_KEY", "hush-1")
    monkeypatch.setenv("API_TOKEN", "hush-2")
    settings = Local()
    assert settings.api_token == "hush-2"
    assert "hush" not in repr(settings) + str(settings)
    assert "banana" in repr(settings)
    monkeypatch.setenv("PASSWORD", "hush-3")
    with pytest.raises(InvalidSettings) as caught:
        Local()
    printed = "".join(traceback.format_exception(caught.value))
    assert "PASSWORD: Input should be a valid integer" in printed
    assert "hush" not in printed
    assert "hush" not in str(settings_of(Local))


def test_secrets_of_nested_models_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Database(BaseModel):
        host: str
        password: str = ""

    class Local(Settings):
        model_config = SettingsConfigDict(env_nested_delimiter="__")
        db: Database
        api_keys: list[str] = Field(default_factory=list)
        database_url: str = "postgresql://me:hush-0@host/db"

    monkeypatch.setenv("DB__PASSWORD", "hush-1")
    monkeypatch.setenv("API_KEYS", '["hush-2"]')
    with pytest.raises(InvalidSettings) as caught:
        Local()
    assert "hush" not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setenv("DB__HOST", "localhost")
    settings = Local()
    assert settings.db.password == "hush-1"
    assert "hush" not in repr(settings) + str(settings)
    assert "hush" not in str(settings_of(Local))


def test_the_one_instance_is_a_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", "first")
    app = FastAPI()

    @app.get("/")
    async def read(
        settings: Annotated[ShopSettings, Depends(ShopSettings.dependency)],
    ) -> dict[str, Any]:
        return {"url": settings.database_url, "same": settings is ShopSettings.current()}

    client = TestClient(app)
    assert client.get("/").json() == {"url": "first", "same": True}
    monkeypatch.setenv("SHOP_DATABASE_URL", "second")
    assert client.get("/").json()["url"] == "first"
    ShopSettings.forget()
    assert client.get("/").json()["url"] == "second"
    app.dependency_overrides[ShopSettings.dependency] = lambda: ShopSettings(database_url="test")
    assert client.get("/").json() == {"url": "test", "same": False}
    assert asyncio.run(ShopSettings.dependency()) is ShopSettings.current()


def test_base_settings_are_pydantic_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(BaseSettings):
        admin_email: str

    with pytest.raises(ValidationError):
        Plain()
    monkeypatch.setenv("ADMIN_EMAIL", "a@example.com")
    assert Plain().admin_email == "a@example.com"
    assert by_name(Plain) == {"admin_email": ("environment", "a@example.com")}


APP = """
    from pelton.settings import Settings, SettingsConfigDict
    from pelton.web import FastAPI

    class ShopSettings(Settings):
        model_config = SettingsConfigDict(env_prefix="SHOP_")
        database_url: str
        admin_token: str = "hush"

    app = FastAPI()
"""


def command(
    directory: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pelton", *arguments],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT / "python"), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_lists_them_and_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    done = command(tmp_path, "settings", "shop:app", SHOP_DATABASE_URL="sqlite:///a.db")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines == [
        ["shop.ShopSettings"],
        ["SHOP_DATABASE_URL", "sqlite:///a.db", "environment"],
        ["SHOP_ADMIN_TOKEN", "**********", "default"],
    ]
    done = command(tmp_path, "settings", "shop:app")
    assert done.returncode == 1
    assert ["SHOP_DATABASE_URL", "missing"] in [line.split() for line in done.stdout.splitlines()]
    assert "SHOP_DATABASE_URL is missing: set it in the environment" in done.stderr
    assert "Traceback" not in done.stderr
    doctor = command(tmp_path, "doctor", "shop:app")
    assert doctor.returncode == 1
    assert "FAIL  settings" in doctor.stdout


def test_an_app_without_settings_says_so(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from pelton.web import FastAPI\napp = FastAPI()\n")
    done = command(tmp_path, "settings", "shop:app")
    assert (done.returncode, "declares no settings" in done.stdout) == (0, True)


def test_without_the_extra_the_import_says_what_to_install() -> None:
    program = """
        import sys
        sys.modules["pydantic_settings"] = None
        try:
            import pelton.settings
        except ModuleNotFoundError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert "pip install 'pelton[settings]'" in done.stdout, done.stderr
