"""The agents that `dragoman run` knows."""

from __future__ import annotations

from app.cli.launcher import claude, codex, others
from app.cli.launcher.agent import Agent

AGENTS = {
    "claude": Agent(
        "claude",
        claude.prepare,
        "npm install -g @anthropic-ai/claude-code",
        default_model="claude-sonnet-4-6",
    ),
    "codex": Agent("codex", codex.prepare, "npm install -g @openai/codex"),
    "opencode": Agent("opencode", others.prepare_opencode, "npm install -g opencode-ai"),
    "cline": Agent("cline", others.prepare_cline, "npm install -g cline"),
    "aider": Agent("aider", others.prepare_aider, "pipx install aider-chat"),
    "qwen": Agent("qwen", others.prepare_qwen, "npm install -g @qwen-code/qwen-code"),
    "goose": Agent("goose", others.prepare_goose, "see https://github.com/aaif-goose/goose"),
}
