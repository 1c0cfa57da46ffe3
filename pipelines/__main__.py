"""`python -m pipelines` is `adassl`."""

from pipelines.cli.app import main

if __name__ == "__main__":
    main()
