"""The `dragoman` command; `python -m dragoman` is the same."""

# ruff: noqa: E402
import gc
import signal
import sys

# Importing the commands takes a moment. Ctrl-C in it ends the program without a traceback, as it does later.
_heard = signal.getsignal(signal.SIGINT)
if _heard is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.argv[1:2] == ["serve"]:
    # This process becomes the server: gevent must patch the standard library before anything else of ours is loaded.
    # What is imported stays, so that looking through it for garbage is a waste until all of it is there.
    gc.disable()
    from app.patching import prepare_process

    prepare_process()

from app.cli import main as _run


def main() -> None:
    """Runs the command that the arguments name, and ends the process with its exit code."""
    signal.signal(signal.SIGINT, _heard)
    _run()


if __name__ == "__main__":
    main()
