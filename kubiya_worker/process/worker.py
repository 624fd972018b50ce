"""This file is the worker's entry point, so that `ps` shows `python -P …/worker.py --queue-id Q`."""

from kubiya_worker.process.main import main

if __name__ == "__main__":
    main()
