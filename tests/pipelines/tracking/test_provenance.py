import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from pipelines.tracking import device_tags, provenance, standard_tags


def test_tags_name_versions_and_nothing_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    tags = standard_tags()
    assert tags["version.torch"] == metadata.version("torch")
    assert "version.python" in tags
    assert "hush" not in str(tags)


def test_device_tags_say_where_and_on_what() -> None:
    tags = device_tags()
    assert tags["host"]
    assert re.match(r"CPU \S|\d+ × \S", tags["devices"])


def test_the_commit_is_that_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "provenance.py"
    code.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(code))
    assert provenance.git_commit() is None, "no repository"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert provenance.git_commit() is None, "somebody else's repository: the file is not in it"
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", provenance.git_commit() or "")
    code.write_text("changed = True")
    assert re.fullmatch(r"[0-9a-f]{40}-dirty", provenance.git_commit() or "")
