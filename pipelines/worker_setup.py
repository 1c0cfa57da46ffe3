"""What every process that Ray starts for us does first: find our packages and its own cluster."""

from collections.abc import Callable
from pathlib import Path

PACKAGES = ("adassl", "pipelines", "tune_spaces")


def worker_setup() -> Callable[[], None]:
    """Make the `worker_process_setup_hook` of our runtime environment.

    The hook is a nested function, because pickle sends such a function by value: a function of a
    module would be imported by its name, which may already find a package of somebody else.
    """
    packages, folder = PACKAGES, str(Path(__file__).parents[1])

    def set_up() -> None:
        import os
        import sys
        from importlib.machinery import ModuleSpec, PathFinder

        import ray

        class OursFirst:
            """Finds our packages where the driver has them; elsewhere the usual search goes on.

            Ray puts the driver's working directory first on the path, and a package of the user's
            there may have the name of one of ours.
            """

            @staticmethod
            def find_spec(
                name: str, path: object = None, target: object = None
            ) -> ModuleSpec | None:
                return PathFinder.find_spec(name, [folder]) if name in packages else None

        sys.meta_path.insert(0, OursFirst)
        # Ray Train asks for the state of its controller at an address that it otherwise guesses
        # from the processes of this machine, where other clusters may run.
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        os.environ["RAY_TRAIN_V2_ENABLED"] = "1"  # we are written for the second version

    return set_up
