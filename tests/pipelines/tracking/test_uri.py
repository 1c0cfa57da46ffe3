from pathlib import Path

import pytest

from pipelines.tracking import TrackingError, default_uri, resolve_uri, ui_command
from pipelines.tracking.uri import database_file


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_default_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_uri(Path("out")) == f"sqlite:///{tmp_path}/out/mlflow.db"
    assert default_uri(Path("out")).startswith("sqlite:////")


def test_the_flag_wins_over_the_variable_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_uri(None, tmp_path) == default_uri(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://variable:5000")
    assert resolve_uri(None, tmp_path) == "http://variable:5000"
    assert resolve_uri("https://flag", tmp_path) == "https://flag"


def test_runs_at_a_uri_need_a_server_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrackingError, match=r"set MLFLOW_TRACKING_URI, or --set tracking.uri="):
        resolve_uri(None, None)
    assert resolve_uri("http://flag:5000", None) == "http://flag:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://variable:5000")
    assert resolve_uri(None, None) == "http://variable:5000"


def test_a_relative_database_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///runs/m.db", Path("out")) == f"sqlite:///{tmp_path}/runs/m.db"


def test_a_database_in_a_folder_of_any_name_has_a_uri(tmp_path: Path) -> None:
    for name in ("plain", "100%", "50%20x", "a b", "what?"):
        file = database_file(default_uri(tmp_path / name))
        assert file == tmp_path / name / "mlflow.db"


def test_a_database_keeps_its_options(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/m.db?timeout=60"
    assert resolve_uri(uri, None) == uri
    assert database_file(uri) == tmp_path / "m.db"


@pytest.mark.parametrize(
    "uri",
    [
        "mlruns",
        "/tmp/mlruns",
        "file:///tmp/mlruns",
        "htp://host:5000",
        "http://",
        "http:/host:5000",
        "http://host:port",
        "http://host:99999",
        "sqlite:mlflow.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "postgresql",
    ],
)
def test_a_uri_that_cannot_work_is_refused_with_the_remedy(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        resolve_uri(uri, tmp_path)
    assert repr(uri) in str(caught.value)
    assert "use sqlite:////absolute/path/mlflow.db, or http://host:port" in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "https://host/mlflow",
        "postgresql+psycopg2://u:p@db/m",
        "sqlite:////m.db",
    ],
)
def test_uris_that_may_work_pass(uri: str, tmp_path: Path) -> None:
    assert resolve_uri(uri, tmp_path) == uri


@pytest.mark.parametrize(
    ("uri", "command"),
    [
        (
            "sqlite:////a b/mlflow.db",
            "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db' --host 127.0.0.1 --port 5000",
        ),
        ("http://ann:secret@host:5000", "http://***@host:5000"),
    ],
)
def test_the_way_to_the_ui(uri: str, command: str) -> None:
    assert ui_command(uri) == command


def test_an_error_keeps_the_password_to_itself(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        resolve_uri("ftp://ann:secret@host", tmp_path)
    assert "secret" not in str(caught.value)
