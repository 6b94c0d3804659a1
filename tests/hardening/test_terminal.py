"""What commands print: names that clients chose and words of others do nothing to a terminal, and tell no secret."""

from __future__ import annotations

import base64
import json
import os
import re
import time
import urllib.parse
from pathlib import Path

import pytest
from click.testing import CliRunner

import app.cli
from app.accounts.accounts import Accounts
from app.accounts.record import AttemptRecord
from app.cli import main
from app.gateway.recording.exposition import write_metrics
from app.gateway.recording.metrics import Metrics
from app.gateway.recording.workers import Whole
from app.settings import AccountsSettings
from tests.accounts.records import record
from tests.cli.machine import Machine

# Each ends in a word by which its place in an output is found.
ATTACKS = {
    "a title": "\x1b]0;owned\x07EVIL",
    "a link": "\x1b]8;;https://evil.test\x1b\\EVIL",
    "a cleared screen": "\x1b[2J\x1b[HEVIL",
    "hidden text": "\x1b[8mEVIL",
    "an answer of the terminal": "\x1b[6n\x05\x1bZEVIL",
    "a control of one byte": "\x9b31m\x9d0;owned\x9cEVIL",
    "a line of its own": "\r\nError: EVIL",
    "a line written over": "\rEVIL\x08\x08",
    "text from right to left": "\u202eEVIL\u2066\u200f\u061c",
    "nothing to see": "\u200b\u2060\ufeff\u00adEVIL",
    "half a pair": "\udcffEVIL",
}
ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
STYLES = re.compile("\x1b\\[(?:0|1|3[1-3])m")  # of our own words
COMMANDS = [
    ("usage",), ("usage", "--by", "session"), ("usage", "--by", "client"), ("usage", "--csv"), ("usage", "--json"),
    ("requests",), ("requests", "--csv"), ("requests", "--json"), ("show", f"{1:024x}"),
    ("show", f"{1:024x}", "--json"),
]  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_of_a_client_does_nothing_to_the_terminal_of_an_operator(name: str, tmp_path: Path) -> None:
    evil = ATTACKS[name].encode("utf-8", "replace").decode()  # as a ledger can hold it
    url = f"sqlite:///{tmp_path}/ledger.sqlite3"
    config = tmp_path / "dragoman.toml"
    config.write_text(f'[ledger]\nurl = "{url}"\n[providers.demo]\n')
    config.chmod(0o600)
    accounts = Accounts(AccountsSettings(), url)
    accounts.take([record(
            1, received=time.time() - 9, terminal="error", status=503, error="overloaded", session=evil, agent=evil,
            path=evil, model=evil, target=f"up/{evil}", losses=(evil,), lowered=(evil,), message=evil,
            attempts=(AttemptRecord(f"up/{evil}", 503, "overloaded", evil),), upstream_request_id=evil,
        ),])  # fmt: skip
    accounts.close()

    for words in COMMANDS:
        done = CliRunner().invoke(main, [*words, "--config", str(config)], color=True)

        assert done.exit_code == 0, done.output
        assert "EVIL" in done.output, words
        assert ODD.search(STYLES.sub("", done.output)) is None, (words, ascii(done.output))
        assert "--csv" in words or "\nError: EVIL" not in done.output, words


@pytest.mark.parametrize("name", ATTACKS)
def test_words_in_errors_do_nothing_to_a_terminal(name: str, machine: Machine) -> None:
    machine.write("dragoman.toml", f"[providers.demo]\n[models]\ndefault = {json.dumps(ATTACKS['a title'])}\n")
    evil = ATTACKS[name]
    (machine.home / ".codex").mkdir()
    there = json.dumps(f"http://127.0.0.1:8080/{evil}")
    if name != "half a pair":
        (machine.home / ".codex/config.toml").write_text(
            f'model_provider = "d"\n[model_providers.d]\nbase_url = {there}\n'
        )

    for words in (("explain", evil), ("show", evil), ("doctor", "--offline"), ("config", "check"), ("models",)):
        done = CliRunner(env={"ANTHROPIC_BASE_URL": f"http://127.0.0.1:8080/{evil}"}).invoke(main, words, color=True)

        assert done.exception is None or isinstance(done.exception, SystemExit), words
        assert ODD.search(STYLES.sub("", done.output)) is None, (words, ascii(done.output))


def test_every_command_prints_by_the_same_way() -> None:
    folder = Path(app.cli.__file__).parent
    own = {"terminal.py", "group.py", "top.py", "options.py"}  # the way itself, a version, a screen, a line wiped out

    others = [path.name for path in folder.rglob("*.py") if re.search(r"click\.s?echo|\bprint\(", path.read_text())]

    assert set(others) == own


@pytest.mark.parametrize("name", ATTACKS)
def test_a_model_that_a_client_named_is_one_plain_label(name: str) -> None:
    metrics = Metrics()
    metrics.take([record(provider="up", target=f"up/{ATTACKS[name]}")])

    text = write_metrics(Whole(metrics.count(), [], 1, True), "1").decode()

    assert "EVIL" in text
    assert ODD.search(text) is None


SECRET = "cAnArY/sEcret+7Qz9=vX2"
QUOTED = urllib.parse.quote(SECRET, safe="")
UP = '[providers.up]\nkind = "openai"\n'
HERE = "http://127.0.0.1:8080"
# Where somebody has put a secret: in a configuration, in a file of another program, in a variable.
CONFIGURATIONS = {
    "a URL's user": f'{UP}base_url = "http://u:{QUOTED}@h.example/v1"\napi_key = "x"\n',
    "a URL's query": f'{UP}base_url = "http://h.example/v1?api_key={QUOTED}"\napi_key = "x"\n',
    "a URL that is none": f'{UP}base_url = "http://u:{SECRET}@[h"\n',
    "a header": f'{UP}base_url = "http://h/v1"\napi_key = "x"\nheaders = {{ X-Foo = "{SECRET}" }}\n',
    "a header of lists": f'{UP}base_url = "http://h/v1"\nheaders = {{ X-Foo = ["{SECRET}"] }}\n',
    "a misspelt name": f'{UP}base_url = "http://h/v1"\napi_kye = "{SECRET}"\n',
    "a broken line": f'[server\napi_keys = ["{SECRET}"]\n',
    "an open quotation": f'[server]\napi_keys = ["{SECRET}]\n',
    "words behind it": f'[server]\napi_keys = "{SECRET}" junk\n',
    "a table of keys": f'[server]\napi_keys = {{ a = "{SECRET}" }}\n',
    "a port": f'[server]\nport = "{SECRET}"\n',
    "an option": f'[providers.up]\nkind = "claude_cli"\ncommand = ["c", "--key={SECRET}", "--token", "{SECRET}"]\n',
    "a proxy": f'[server]\nproxies = {{ https = "http://u:{QUOTED}@p:1" }}\n',
    "a database": f'[ledger]\nurl = "postgresql://u:{QUOTED}@h/d"\n',
    "another database": f'[ledger]\nurl = "mysql://u:{SECRET}@h/d"\n',
    "Redis": f'[shared]\nredis = "redis://:{QUOTED}@h:1/0"\n',
    "a named key": f'[keys.ana]\nkey = "{SECRET}"\n',
    "a webhook": f'[alerts]\nwebhooks = ["https://hooks.example/services/T0/{SECRET}"]\n',
    "fields of requests": f'{UP}base_url = "http://h/v1"\nextra_body = {{ token = "{SECRET}" }}\n',
}  # fmt: skip
FILES = {
    ".claude/settings.json": [
        json.dumps({"env": {"ANTHROPIC_AUTH_TOKEN": SECRET, "ANTHROPIC_BASE_URL": HERE}, "apiKeyHelper": SECRET}),
        json.dumps({"env": {"ANTHROPIC_CUSTOM_HEADERS": f"a: {SECRET}", "ANTHROPIC_BASE_URL": f"{HERE}?k={SECRET}"}}),
        '{"env":{"ANTHROPIC_AUTH_TOKEN":"' + SECRET,
    ],
    ".codex/config.toml": [
        f'model_provider = "d"\n[model_providers.d]\nbase_url = "{HERE}/v1"\nhttp_headers = {{ A = "{SECRET}" }}\n',
        f'model_provider = "d"\n[model_providers.d]\nexperimental_bearer_token = "{SECRET}\n',
    ],
    ".codex/auth.json": [json.dumps({"OPENAI_API_KEY": SECRET}), '{"OPENAI_API_KEY":"' + SECRET],
    ".claude/.credentials.json": [
        json.dumps({"claudeAiOauth": {"accessToken": SECRET, "refreshToken": SECRET, "expiresAt": 1}}),
        '{"claudeAiOauth":{"accessToken":"' + SECRET,
    ],
}
VARIABLES = {
    "ANTHROPIC_AUTH_TOKEN": SECRET, "ANTHROPIC_API_KEY": SECRET, "OPENAI_API_KEY": SECRET, "PORT": SECRET,
    "ANTHROPIC_CUSTOM_HEADERS": f"X-Key: {SECRET}", "ANTHROPIC_BASE_URL": f"http://u:{QUOTED}@127.0.0.1:8080",
    "HTTPS_PROXY": f"http://u:{QUOTED}@p:1", "HTTP_PROXY": f"u:{SECRET}@p:3128", "DRAGOMAN_SERVER_API_KEYS": SECRET,
}  # fmt: skip
FORMS = (SECRET, SECRET.lower(), QUOTED, base64.b64encode(SECRET.encode()).decode(), SECRET[:15], SECRET[4:19])


def check_bundle(machine: Machine, **environ: str) -> None:
    bundle = machine.folder / "bundle.json"
    done = machine.run("doctor", "--offline", "--bundle", str(bundle), "--yes", **environ)

    written = bundle.read_text()
    assert json.loads(written)["findings"]
    assert [form for form in FORMS if form in done.output + written] == []
    assert bundle.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", CONFIGURATIONS)
def test_a_bundle_tells_no_secret_of_a_configuration_good_or_bad(place: str, machine: Machine) -> None:
    machine.write("dragoman.toml", CONFIGURATIONS[place])

    check_bundle(machine)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in FILES.items() for text in texts])
def test_a_bundle_tells_no_secret_of_other_programs(name: str, text: str, machine: Machine) -> None:
    machine.write("dragoman.toml", '[providers.a]\nkind = "anthropic"\n[providers.codex]\n')
    path = machine.home / name
    path.parent.mkdir(parents=True)
    path.write_text(text)

    check_bundle(machine)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_bundle_tells_no_secret_of_the_environment(name: str, machine: Machine) -> None:
    check_bundle(machine, **{name: VARIABLES[name]})


def test_a_bundle_goes_where_nobody_else_has_put_a_file_or_link(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lax = machine.write("lax.json", "old")
    lax.chmod(0o666)
    assert "wrote" in machine.run("doctor", "--offline", "--bundle", str(lax), "--yes").output
    assert lax.stat().st_mode & 0o777 == 0o600

    precious = machine.write("precious", "mine")
    planted = machine.folder / "planted.json"
    planted.symlink_to(precious)
    if os.geteuid() == 0:
        os.chown(planted, 4711, 4711, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
    refused = machine.run("doctor", "--offline", "--bundle", str(planted), "--yes")

    assert "belongs to another user" in refused.output
    assert precious.read_text() == "mine"
