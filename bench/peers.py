"""Two compiled gateways, measured beside ours where they are installed: `smg` passes, `switchyard` translates.

They are looked for in the Python environment `smg` below $PEERS_HOME:

    python3 -m venv $PEERS_HOME/smg && $PEERS_HOME/smg/bin/pip install smg==1.13.0 nemo-switchyard==0.3.0
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dialects import CHAT, MESSAGES
from scenarios import ANSWERS, PROVIDERS, REWRITING

SMG, SWITCHYARD = "smg 1.13", "switchyard 0.3"
# Both are silent about their requests, try none twice, and ask for no key.
_HOLDER = (
    "import signal, sys; from switchyard_rust.server import Server; server = Server(sys.argv[1], int(sys.argv[2])); "
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nwhile True: signal.pause()"
)


def peer_commands(folder: Path, upstream_port: int, free_port: Callable[[], int]) -> dict[str, tuple[int, list[str]]]:
    """The port and the command of each, by name. Ends the bench where they are not installed."""
    home = Path(os.environ.get("PEERS_HOME", "")) / "smg" / "bin"
    if not (home / "smg").exists():
        raise SystemExit("the peers are not installed below $PEERS_HOME; see bench/peers.py")
    upstream = f"http://127.0.0.1:{upstream_port}"
    smg, switchyard = free_port(), free_port()
    launch = ["launch", "--host", "127.0.0.1", "--port", str(smg), "--worker-urls", upstream, "--policy", "round_robin"]
    launch += ["--disable-retries", "--disable-circuit-breaker", "--log-level", "error"]
    launch += ["--prometheus-port", str(free_port())]
    routes = folder / "routes.toml"
    routes.write_text(_spell_routes(upstream))
    return {
        SMG: (smg, [str(home / "smg"), *launch]),
        SWITCHYARD: (switchyard, [str(home / "python"), "-c", _HOLDER, str(routes), str(switchyard)]),
    }


def _spell_routes(upstream: str) -> str:
    """Every model that the bench asks for, under the name that it has at our gateway."""
    rows = ["schema_version = 1"]
    for dialect, form in ((CHAT, "openai_chat"), (MESSAGES, "anthropic_messages")):
        client = PROVIDERS[dialect]
        rows.append(
            f'[llm_clients.{client}]\nformat = "{form}"\nbase_url = "{upstream}/v1"\n'
            'api_key_env = "UP_KEY"\nmax_retries = 0'
        )
        for answer in ANSWERS:
            target = f"{client}-{answer.name}"
            rows.append(f'[targets.{target}]\nid = "{answer.name}"\nllm_client = "{client}"')
            for provider in (client, REWRITING) if dialect is CHAT else (client,):
                rows.append(
                    f'[routes.{provider}-{answer.name}]\nid = "{provider}/{answer.name}"\ntype = "passthrough"\n'
                    f'target = "{target}"'
                )
    return "\n".join(rows) + "\n"
