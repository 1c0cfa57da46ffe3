"""`python -m pipelines` is `adassl`."""

import sys


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        from pipelines.cli.app import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("adassl", "pipelines", "tune_spaces"):
            raise
        sys.exit(f"adassl: {error.name} is not installed; pip install 'adassl[pipelines]'")
    run()


if __name__ == "__main__":
    main()
