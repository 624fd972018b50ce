"""`python -m kubiya_worker` is the command `kubiya`, also where another program has that name."""

from kubiya_worker.cli.main import main

if __name__ == "__main__":
    main()
