"""`python -m pipelines` is `adassl`."""

from pipelines.cli import main

if __name__ == "__main__":
    main()
