"""`python -m dragoman` is the `dragoman` command."""

from app.cli import main

if __name__ == "__main__":
    main()
