"""Where MLflow keeps the runs: SQLite beside them unless something else is asked for."""

import os
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipelines.errors import UserError
from pipelines.tracking.async_logger import without_password

_DATABASES = ("postgresql", "mysql", "mssql")
_REMEDY = "use sqlite:////absolute/path/mlflow.db, or http://host:port of an `mlflow server`"


class TrackingError(UserError, ValueError):
    """A tracking URI that can never work; the message says what would."""


def default_uri(output_folder: Path) -> str:
    """SQLite in the output folder, by its absolute path: workers run in other directories."""
    return sqlite_uri(output_folder / "mlflow.db")


def resolve_uri(flag: str | None, output_folder: Path | None) -> str:
    """The flag's URI, else that of `MLFLOW_TRACKING_URI`, else the default one.

    Args:
        flag: the setting `tracking.uri`.
        output_folder: where the runs are; None where that is no place for an SQLite file.

    Raises:
        TrackingError: if no MLflow can be there.
    """
    uri = flag or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri and output_folder is None:
        raise TrackingError(
            "runs at a URI cannot have MLflow's SQLite beside them: set MLFLOW_TRACKING_URI, or "
            f"--set tracking.uri=…; {_REMEDY}"
        )
    uri = uri or default_uri(output_folder or Path())
    check_uri(uri)
    file = database_file(uri)
    return sqlite_uri(file, query=uri.partition("?")[2]) if file else uri


def check_uri(uri: str) -> None:
    """Refuse a URI that can never work, without asking whether a server is there.

    Raises:
        TrackingError: saying what would work.
    """
    scheme = uri.partition(":")[0].partition("+")[0]  # postgresql+psycopg2 names its driver
    if scheme in ("http", "https"):
        try:
            address = urlsplit(uri)
            good = bool(address.hostname) and address.port != 0  # a wrong port raises when read
        except ValueError:
            good = False
    elif scheme == "sqlite":
        good = uri.startswith("sqlite:///") and uri.removeprefix("sqlite:///") not in (
            "",
            ":memory:",
        )
    else:
        good = scheme in _DATABASES and "://" in uri
    if not good:
        raise TrackingError(f"tracking URI {without_password(uri)!r}: no MLflow 3 there; {_REMEDY}")


def sqlite_uri(file: Path, *, query: str = "") -> str:
    """The URI of an SQLite file, by its absolute path."""
    path = str(file.absolute()).replace("%", "%25").replace("?", "%3F")  # SQLAlchemy decodes it
    return f"sqlite:///{path}?{query}" if query else f"sqlite:///{path}"


def database_file(uri: str) -> Path | None:
    """The file of an SQLite URI, None for any other."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]))


def ui_command(uri: str) -> str:
    """What to type, or the address to open, to look at the runs."""
    if uri.startswith("http"):
        return without_password(uri)
    store = shlex.quote(without_password(uri))
    return f"mlflow ui --backend-store-uri {store} --host 127.0.0.1 --port 5000"
