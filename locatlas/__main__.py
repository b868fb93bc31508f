"""`python -m locatlas` is the `locatlas` command."""

from locatlas.cli import main

if __name__ == "__main__":
    main()
