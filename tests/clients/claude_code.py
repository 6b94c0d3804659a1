"""A session of Claude Code without a terminal, kept from everything but the gateway."""

from __future__ import annotations

from pathlib import Path

from tests.clients.gateways import KEY
from tests.clients.workspace import MARKER, Workspace
from tests.support.gateway_process import GatewayProcess

PROMPT = f"Use the Bash tool to run `cat {MARKER}` and tell me what it says."
ENVIRON = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_MAX_RETRIES": "2",  # it would retry a refusal for minutes
    "API_TIMEOUT_MS": "30000",
}


def ask_claude(claude: Path, workspace: Workspace, gateway: GatewayProcess, **credential: str) -> str:
    """What `claude -p` prints at the end of its loop; by default it shows the client's key as bearer token."""
    command = [claude, "-p", PROMPT, "--allowedTools", "Bash", "--no-session-persistence"]
    credential = credential or {"ANTHROPIC_AUTH_TOKEN": KEY}
    return workspace.run(command, ANTHROPIC_BASE_URL=gateway.url, **ENVIRON, **credential)
