"""Batches made ahead in a thread; streams of videos stand in tests/integration/test_stream.py."""

import threading
from collections.abc import Generator

import pytest

from pipelines.video import ahead as ahead_module
from pipelines.video.ahead import Ahead


def test_who_waits_for_a_batch_hears_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ahead_module, "NEWS_SECONDS", 0.5)
    may_go = threading.Event()

    def late() -> Generator[int, None, None]:
        may_go.wait(20)
        yield 1

    ahead = Ahead(late(), depth=1)
    threading.Timer(1.2, may_go.set).start()
    assert list(ahead) == [1]
    assert capsys.readouterr().out.startswith("no batch for 0 s: either the decoders find no")


def test_an_error_comes_out_where_it_is_due() -> None:
    def fails() -> Generator[int, None, None]:
        yield 1
        raise OSError("gone")

    ahead = Ahead(fails(), depth=3)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)
    assert list(ahead) == []
