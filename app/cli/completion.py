"""`dragoman completion`: prints a shell completion script."""

from __future__ import annotations

import os
import re

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, get_completion_class

from app.cli.terminal import echo

SHELLS = ("bash", "zsh", "fish", "powershell")
# What PowerShell takes as one argument without quotes.
_PLAIN = re.compile(r"[\w./:-]+")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, to load from its startup file.

    In PowerShell: dragoman completion powershell >> $PROFILE
    """
    kind = get_completion_class(shell)
    assert kind is not None
    echo(kind(context.find_root().command, {}, "dragoman", "_DRAGOMAN_COMPLETE").source())


class PowerShellComplete(ShellComplete):
    """Completion in PowerShell 5.1 and later, which click does not know.

    The words before the cursor are given by the line, as PowerShell has parsed them. Each answer is a value and its
    help, with a tab between; for files there is none, since PowerShell completes those itself.
    """

    name = "powershell"
    source_template = """\
Register-ArgumentCompleter -Native -CommandName %(prog_name)s -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = $commandAst.CommandElements |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        ForEach-Object {
            if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) { $_.Value }
            else { $_.Extent.Text }
        }
    $env:COMP_WORDS = $words -join "`n"
    $env:COMP_CWORD = $wordToComplete
    $env:%(complete_var)s = 'powershell_complete'
    try {
        & %(prog_name)s | ForEach-Object {
            $value, $help = $_ -split "`t", 2
            if ($value) {
                [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $help)
            }
        }
    } finally {
        Remove-Item Env:COMP_WORDS, Env:COMP_CWORD, Env:%(complete_var)s -ErrorAction SilentlyContinue
    }
}
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        # PowerShell removes a variable that is set to an empty text.
        return os.environ.get("COMP_WORDS", "").split("\n")[1:], os.environ.get("COMP_CWORD", "").strip("'\"")

    def format_completion(self, item: CompletionItem) -> str:
        if item.type != "plain":
            return ""
        value = str(item.value)
        quoted = value if _PLAIN.fullmatch(value) else "'{}'".format(value.replace("'", "''"))
        return f"{quoted}\t{' '.join((item.help or value).split())}"


add_completion_class(PowerShellComplete)
