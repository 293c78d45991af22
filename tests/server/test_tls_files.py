"""Files of certificates and keys: how they are read, what is wrong with them, and their changes."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pelton.server import StartupError
from tests.server.certificates import Authority, Issued, openssl, requires_openssl
from tests.server.support import Address, run, serving
from tests.server.tls_support import GET, connecting, files, hello, session

pytestmark = requires_openssl


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def local(authority: Authority) -> Issued:
    return authority.issue("localhost", "127.0.0.1")


def test_files_that_change_are_read_again(
    authority: Authority, local: Issued, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "live.pem", tmp_path / "live.key"

    def put(issued: Issued) -> None:
        # As certbot does it: new files take the place of the old ones.
        for source, target in ((issued.key, key), (issued.certificate, certificate)):
            shutil.copy(source, tmp_path / "new")
            os.replace(tmp_path / "new", target)

    async def shown(address: Address) -> bytes | None:
        async with connecting(address, authority.client_context()) as client:
            return session(client).getpeercert(binary_form=True)

    async def main() -> None:
        put(local)
        renewed = authority.issue("localhost")
        options = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
        async with (
            serving(hello, **options, ssl_reload_interval=0.05) as address,
            connecting(address, authority.client_context()) as open_before,
        ):
            assert await shown(address) == local.der
            put(renewed)
            while await shown(address) != renewed.der:  # noqa: ASYNC110  the server looks
                await asyncio.sleep(0.02)
            open_before.send(GET)
            assert (await open_before.response()).status == 200

    run(main())


def test_files_that_cannot_be_used_change_nothing(
    authority: Authority, local: Issued, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = tmp_path / "live.pem"
    shutil.copy(local.certificate, certificate)

    async def main() -> None:
        options = {"ssl_certfile": str(certificate), "ssl_keyfile": str(local.key)}
        async with serving(hello, **options, ssl_reload_interval=None) as address:
            certificate.write_text("nonsense")
            address.server.reload()
            async with connecting(address, authority.client_context()) as client:
                assert session(client).getpeercert(binary_form=True) == local.der

    with caplog.at_level(logging.ERROR, "pelton.server"):
        run(main())
    assert "the TLS files were not taken" in caplog.text
    assert str(certificate) in caplog.text


def test_files_that_are_wrong_are_named(
    authority: Authority, local: Issued, tmp_path: Path
) -> None:
    encrypted, old = tmp_path / "encrypted.key", tmp_path / "old.key"
    openssl(
        *("pkey", "-in", str(local.key), "-out", str(encrypted)),
        *("-aes256", "-passout", "pass:secret"),
    )
    openssl(
        *("pkey", "-in", str(local.key), "-out", str(old), "-traditional"),
        *("-aes256", "-passout", "pass:secret"),
    )
    other = authority.issue("localhost")
    empty = tmp_path / "empty.pem"
    empty.touch()
    chain = str(local.certificate)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ssl_certfile": str(tmp_path / "none.pem")}, r"cannot read .*none\.pem: No such file"),
        ({"ssl_certfile": str(empty)}, r"empty\.pem holds no certificate"),
        ({"ssl_certfile": chain}, "holds no private key"),
        (
            {"ssl_certfile": chain, "ssl_keyfile": str(encrypted)},
            r"encrypted\.key is encrypted: give its password",
        ),
        (
            {
                "ssl_certfile": chain,
                "ssl_keyfile": str(encrypted),
                "ssl_keyfile_password": "Secret",
            },
            r"encrypted\.key cannot be decrypted, is its password right",
        ),
        (
            {"ssl_certfile": chain, "ssl_keyfile": str(old), "ssl_keyfile_password": "secret"},
            r"old\.key is encrypted in OpenSSL's old way",
        ),
        ({"ssl_certfile": chain, "ssl_keyfile": str(other.key)}, "is not that of the certificate"),
        (
            files(local) | {"ssl_ca_certs": str(empty), "ssl_client_certs": "required"},
            r"empty\.pem holds no certificate",
        ),
    ]

    async def main() -> None:
        for options, message in cases:
            with pytest.raises(StartupError, match=message) as error:
                async with serving(hello, **options):
                    pass
            assert error.value.exit_code == 2

    run(main())


@pytest.mark.parametrize("cipher", ["-v2 aes-256-cbc", "-v2 aes-128-cbc", "-scrypt"])
def test_an_encrypted_key(authority: Authority, local: Issued, tmp_path: Path, cipher: str) -> None:
    both = tmp_path / "both.pem"
    openssl(
        *("pkcs8", "-topk8", *cipher.split(), "-in", str(local.key), "-out", str(both)),
        *("-passout", "pass:secret é"),
    )
    with both.open("a") as file:
        file.write(local.certificate.read_text())

    async def main() -> None:
        password = "secret é"
        async with (
            serving(hello, ssl_certfile=str(both), ssl_keyfile_password=password) as address,
            connecting(address, authority.client_context()) as client,
        ):
            assert password not in repr(address.server.config)
            client.send(GET)
            assert (await client.response()).body == b"hello"

    run(main())


def test_a_certificate_and_its_key_in_one_file(
    authority: Authority, local: Issued, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(local.key.read_text() + local.certificate.read_text())

    async def main() -> None:
        async with (
            serving(hello, ssl_certfile=str(both)) as address,
            connecting(address, authority.client_context()) as client,
        ):
            client.send(GET)
            assert (await client.response()).body == b"hello"

    run(main())
