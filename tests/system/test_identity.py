"""Who may ask, through the served process with the official client: rotation, revocation, sign-in, and no way out."""

import json
import signal
import time
from pathlib import Path

import openai
import pytest

from governance.issuers import CLIENT, Provider
from system.processes import Running, tokenworks

pytestmark = pytest.mark.xdist_group("identity")
SETTINGS = """
[identity.oidc]
issuer = "{issuer}"
audience = "{client}"
roles = {{ staff = "user", guards = "security" }}
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    made = Provider(
        tmp_path_factory.mktemp("provider") / "log", {"ada@example.org": {"groups": ["staff"]}, "bob": {"groups": []}}
    )
    yield made
    made.stop()


@pytest.fixture(scope="module")
def running(make_llama, provider, tmp_path_factory):
    folder, home = make_llama(), tmp_path_factory.mktemp("identity") / "home"
    config = home.parent / "tokenworks.toml"
    config.write_text(SETTINGS.format(issuer=provider.issuer, client=CLIENT))
    started = Running(home, "--config", str(config), "serve", "--model", str(folder))
    started.config, started.model, started.secrets = config, folder.name, []
    started.until(r"Try it|" + folder.name)
    yield started
    if started.process.poll() is None:
        started.kill()
        started.process.stdout.close()


def test_a_key_is_rotated_without_a_refusal_and_dies_at_once_when_revoked(running):
    secret = made(running, "key", "new", "bot")
    rotated = made(running, "key", "rotate", secret[:11], "--grace", "1h")
    assert ask(running, secret) == ask(running, rotated) == "ok"
    told = command(running, "key", "retire", secret[:11])
    assert told["retired"] == secret[:11]
    assert "was replaced by a new secret" in ask(running, secret)
    assert ask(running, rotated) == "ok"
    command(running, "key", "revoke", secret[:11])
    assert "was revoked" in ask(running, rotated)
    recorded = entries(running, "access")
    assert [e["action"] for e in recorded if e["subject"] == secret[:11]] == [
        "key.new", "key.rotate", "key.retire", "key.revoke",
    ]  # fmt: skip
    assert all(e["by"] for e in recorded)
    asked = [e for e in entries(running, "request") if e.get("key_id") == secret[:11]]
    assert len(asked) == 3, "limits and reports know both secrets as one key"
    scan(running, secret, rotated)


def test_people_sign_in_with_the_official_client_while_the_provider_comes_and_goes(running, provider):
    provider.start()
    ada, bob = provider.sign_in("ada@example.org"), provider.sign_in("bob")
    provider.stop()
    with pytest.raises(openai.InternalServerError) as down:
        client(running, ada).with_options(max_retries=0).completions.create(
            model=running.model, prompt="def f(", max_tokens=1
        )
    assert (down.value.status_code, down.value.code) == (503, "identity_provider_unavailable")
    assert provider.issuer not in str(down.value)
    provider.start()
    ada, bob = provider.sign_in("ada@example.org"), provider.sign_in("bob")
    time.sleep(1.1)  # the gateway asks again a second after it asked in vain
    assert ask(running, ada) == "ok"
    assert "none of your groups has a role here" in ask(running, bob)
    assert "was changed since" in ask(running, ada[:-8] + "AAAAAAAA")
    provider.stop()
    assert ask(running, ada) == "ok", "a token that was verified needs no provider"
    (person,) = command(running, "person", "list")
    assert (person["id"], person["claimed"]) == ("ada@example.org", ["user"])
    assert [e["status"] for e in entries(running, "request") if e.get("key_id") == person["handle"]] == [200, 200]
    command(running, "person", "end", "ada@example.org")
    assert "let in no more" in ask(running, ada)
    command(running, "person", "restore", "ada@example.org")
    assert ask(running, ada) == "ok"
    command(running, "tenant", "close", "default")
    assert "is closed" in ask(running, ada)
    command(running, "tenant", "open", "default")
    scan(running, ada, bob)
    for path in (running.home / "ledger").rglob("*.seg"):
        assert b"ada@example.org" not in path.read_bytes(), "the ledger knows people by pseudonym"


def test_whoever_is_at_the_machine_gets_in_again_after_everything_was_revoked(running):
    for key in command(running, "key", "list"):
        if key["revoked_at"] is None:
            command(running, "key", "revoke", key["prefix"])
    assert "was revoked" in ask(running, running.key)
    assert ask(running, made(running, "key", "new", "rescue", "--role", "admin")) == "ok"
    running.process.send_signal(signal.SIGTERM)
    running.output.append(running.process.communicate(timeout=60)[0])
    scan(running, *running.secrets)
    again = Running(running.home, "--config", str(running.config), "serve")
    try:
        again.model = running.model
        again.until(r"Try it|" + running.model)
        assert again.key != running.key
        assert ask(again, again.key) == "ok"
        assert (running.home / "api-key").stat().st_mode & 0o077 == 0
    finally:
        again.kill()
        again.process.stdout.close()


def client(running, secret):
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=secret, max_retries=8)


def ask(running, secret):
    """Ask for a token; return "ok" or why not."""
    try:
        client(running, secret).completions.create(model=running.model, prompt="def f(", max_tokens=1)
    except openai.AuthenticationError as refused:
        return "the secret was told" if secret in str(refused) else str(refused)
    return "ok"


def command(running, *arguments):
    done = tokenworks(running.home, "--config", str(running.config), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def made(running, *arguments):
    return command(running, *arguments)["key"]


def entries(running, kind):
    from tokenworks.ledger.reader import read

    found = [entry for _, entry in read(running.home / "ledger")]
    return [{name: getattr(e, name) for name in e.__struct_fields__} for e in found if e.__struct_config__.tag == kind]


def scan(running, *secrets):
    """Assert that no secret stands in any file of the home, nor in what the server has printed."""
    running.secrets += secrets
    hidden = [secret[11:].encode() if secret.startswith("tw-") else secret.split(".")[2].encode() for secret in secrets]
    printed = "".join(running.output).encode()
    for path in [path for path in Path(running.home).rglob("*") if path.is_file()]:
        data = path.read_bytes()
        assert not any(each in data for each in hidden), path
    assert not any(each in printed for each in hidden)
