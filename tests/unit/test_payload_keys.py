"""The key file, the codec, and who is answered by the codec server."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.api.common.v1 import Payload
from typer.testing import CliRunner

from refold.cli.codec.server import CodecServer
from refold.cli.main import app
from refold.errors import ConfigurationError, UnreadablePayload
from refold.requests.undecodable import Undecodable
from refold.runtime.payloads.codec import ENCODING, EncryptingCodec, KeylessCodec
from refold.runtime.payloads.converter import forgiving_converter, make_data_converter
from refold.runtime.payloads.keys import PayloadKeys, add_key, load_keys, parse_keys

ONE = f"one {base64.b64encode(bytes(range(32))).decode()}"
TWO = f"two {base64.b64encode(bytes(range(1, 33))).decode()}"
PAYLOAD = Payload(metadata={"encoding": b"json/plain"}, data=b'"a secret"')


def keys(*lines: str) -> PayloadKeys:
    return parse_keys("\n".join(lines), "keys")


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, new = EncryptingCodec(keys(ONE)), EncryptingCodec(keys("# since today", TWO, "", ONE))
    sealed = new.sealed(PAYLOAD)
    assert sealed.metadata == {"encoding": ENCODING, "encryption-key-id": b"two"}
    assert b"secret" not in sealed.SerializeToString()
    assert sealed != new.sealed(PAYLOAD), "never the same twice"
    assert new.opened(sealed) == PAYLOAD
    assert new.opened(old.sealed(PAYLOAD)) == PAYLOAD
    assert new.opened(PAYLOAD) == PAYLOAD, "what is plain is taken"
    nobodys = Payload(metadata={"encoding": ENCODING}, data=b"no key is named")
    assert new.opened(nobodys) == nobodys, "refused as what is no JSON"


def test_plain_encrypts_nothing_and_decrypts_all() -> None:
    codec = EncryptingCodec(keys("plain", ONE))
    assert codec.sealed(PAYLOAD) == PAYLOAD
    assert codec.opened(EncryptingCodec(keys(ONE)).sealed(PAYLOAD)) == PAYLOAD


async def test_who_has_not_the_key_is_told_which_is_missing() -> None:
    sealed = EncryptingCodec(keys(ONE)).sealed(PAYLOAD)
    with pytest.raises(UnreadablePayload, match=r"key 'one': expected a key file .* got none"):
        await KeylessCodec().decode([PAYLOAD, sealed])
    with pytest.raises(UnreadablePayload, match=r"key 'one': expected it in keys, got two there"):
        EncryptingCodec(keys(TWO)).opened(sealed)
    impostor = EncryptingCodec(keys(TWO.replace("two", "one")))
    with pytest.raises(UnreadablePayload, match=r"key 'one': the key of that id in keys does not"):
        impostor.opened(sealed)
    changed = Payload(metadata=sealed.metadata, data=sealed.data[:-1] + b"\0")
    short = Payload(metadata=sealed.metadata, data=b"short")
    for wrong in (changed, short):
        with pytest.raises(UnreadablePayload, match="does not open it"):
            EncryptingCodec(keys(ONE)).opened(wrong)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "keys: expected at least one key, got none"),
        (["plain"], "keys: expected at least one key"),
        ([ONE, ONE], "keys, line 2: expected each id once, got 'one' again"),
        ([ONE, "plain"], "keys, line 2: expected `plain` before all keys"),
        (["s3cr3t"], "keys, line 1: .*got 1 words"),
        (["one s3cr3t!"], "keys, line 1: .*got no base64"),
        (["one c2VjcmV0"], "keys, line 1: .*got 6 bytes"),
        ([ONE.replace("one", "ö")], "keys, line 1: expected an id of"),
    ],
)
def test_a_line_that_is_no_key_is_refused_and_not_told(lines: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        keys(*lines)
    assert not any(word in str(refused.value) for line in lines for word in line.split()[1:])
    assert "s3cr3t" not in str(refused.value)
    assert "AAEC" not in repr(keys(ONE))


def test_the_documented_file_is_a_key_file() -> None:
    page = (Path(__file__).parents[2] / "docs/encryption.md").read_text()
    loaded = parse_keys(page.partition("```text\n")[2].partition("```")[0], "docs")
    assert (loaded.first, len(loaded.by_id)) == ("2026-11-27", 2)


def test_new_keys_stand_first_or_last(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    first = add_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    second = add_key(file)
    third = add_key(file, last=True)
    loaded = load_keys(file)
    assert loaded.first == second
    assert list(loaded.by_id) == [second, first, third]
    file.write_text(f"# ours\nplain\n{file.read_text()}")
    add_key(file)
    assert load_keys(file).first is None, "`plain` stays until somebody takes it away"
    assert file.read_text().startswith("# ours\nplain\n")
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_keys(tmp_path / "nowhere")


def test_without_a_key_file_nothing_is_imported_that_encrypts(tmp_path: Path) -> None:
    code = (
        "import sys; from refold.runtime.payloads.converter import make_data_converter as make; "
        "make(None); print([name for name in sys.modules if name.startswith('cryptography')])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
    add_key(tmp_path / "keys")
    assert isinstance(make_data_converter(tmp_path / "keys").payload_codec, EncryptingCodec)


async def test_a_worker_goes_on_without_heartbeats_that_it_cannot_read(tmp_path: Path) -> None:
    add_key(tmp_path / "keys")
    sealed = EncryptingCodec(keys(ONE)).sealed(PAYLOAD)
    for key_file in (None, tmp_path / "keys"):
        converter = forgiving_converter(make_data_converter(key_file))
        (details,) = await converter.decode([sealed])
        assert isinstance(details, Undecodable)
        assert "encrypted with key 'one'" in details.why
        with pytest.raises(UnreadablePayload):
            await converter.decode([sealed], [str])
        assert await converter.decode([PAYLOAD]) == ["a secret"]


# -- the server ------------------------------------------------------------------------------

UI = "http://localhost:8233"
BODY = {
    "payloads": [
        {
            "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
            "data": base64.b64encode(PAYLOAD.data).decode(),
        }
    ]
}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[CodecServer]:
    token = getattr(request, "param", None)
    made = CodecServer(("127.0.0.1", 0), EncryptingCodec(keys(ONE)), [UI], token)
    serving = threading.Thread(target=made.serve_forever, args=(0.05,))
    serving.start()
    yield made
    made.shutdown()
    serving.join()
    made.server_close()


def ask(server: CodecServer, path: str, body: Any = BODY, **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", content=json.dumps(body), headers=headers)


def test_the_server_encrypts_and_decrypts_for_the_ui(server: CodecServer) -> None:
    preflight = httpx.options(
        f"{server.url}/decode",
        headers={"Origin": UI, "Access-Control-Request-Headers": "content-type,x-namespace"},
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == UI
    assert "x-namespace" in preflight.headers["access-control-allow-headers"]
    sealed = ask(server, "/encode", Origin=UI)
    assert sealed.headers["access-control-allow-origin"] == UI
    assert sealed.json() != BODY
    opened = ask(server, "/decode?namespace=default", sealed.json(), Origin=UI)
    assert opened.json() == BODY
    assert ask(server, "/decode").json() == BODY, "the command line has no origin"


def test_the_server_refuses_all_others(server: CodecServer) -> None:
    refused = ask(server, "/decode", Origin="https://elsewhere.example")
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers
    assert httpx.options(f"{server.url}/decode", headers={"Origin": "null"}).status_code == 403
    assert ask(server, "/else").status_code == 404
    assert ask(server, "/decode", {"payloads": [{"data": 1}]}).status_code == 400
    assert ask(server, "/decode", ["no"]).status_code == 400
    other = EncryptingCodec(keys(TWO)).sealed(PAYLOAD)
    body = {
        "payloads": [
            {
                "metadata": {
                    name: base64.b64encode(value).decode() for name, value in other.metadata.items()
                },
                "data": base64.b64encode(other.data).decode(),
            }
        ]
    }
    lacking = ask(server, "/decode", body, Origin=UI)
    assert (lacking.status_code, "key 'two'" in lacking.text) == (400, True)


@pytest.mark.parametrize("server", ["a token of some length"], indirect=True)
def test_a_token_is_asked_for(server: CodecServer) -> None:
    assert ask(server, "/decode").status_code == 401
    assert ask(server, "/decode", Authorization="Bearer wrong").status_code == 401
    known = ask(server, "/decode", Authorization="Bearer a token of some length")
    assert known.json() == BODY


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve"], "REFOLD_PAYLOAD_KEY_FILE is not set"),
        (["serve", "--host", "0.0.0.0"], "expected an address of this machine alone"),
        (["serve", "--token-file", "{short}"], "expected a token of 16 characters or more"),
        (["serve", "--host", "127.0.0.1", "--port", "{taken}"], "it cannot be listened at"),
    ],
)
def test_a_server_that_cannot_be_is_refused(
    tmp_path: Path, server: CodecServer, words: list[str], said: str
) -> None:
    (tmp_path / "short").write_text("short\n")
    made = CliRunner().invoke(app, ["codec", "new-key", str(tmp_path / "keys")])
    assert (made.exit_code, "encrypts for processes" in made.output) == (0, True)
    taken = server.url.rpartition(":")[2]
    words = [word.format(short=tmp_path / "short", taken=taken) for word in words]
    env = {} if "not set" in said else {"REFOLD_PAYLOAD_KEY_FILE": str(tmp_path / "keys")}
    refused = CliRunner().invoke(app, ["codec", *words], env=env)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert said in refused.stderr
