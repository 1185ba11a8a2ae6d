"""`python -m accuracy` is the command `accuracy`."""

from cli import main

if __name__ == "__main__":
    main()
