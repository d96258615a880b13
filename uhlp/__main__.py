"""`python -m uhlp` is the CLI."""

if __name__ == "__main__":  # the server's worker process imports this module too
    from uhlp.cli import main

    main()
