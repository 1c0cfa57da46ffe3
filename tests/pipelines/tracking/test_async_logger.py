import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pipelines.tracking import async_logger as async_logger
from pipelines.tracking.async_logger import AsyncLogger, Job, brief, without_password


class Shelf:
    """A service in this process that can be switched off."""

    def __init__(self, *, up: bool = True) -> None:
        self.up = up
        self.items: list[int] = []
        self.jobs: list[str] = []
        self.requests = 0

    def send(self, items: list[int]) -> None:
        self._answer()
        self.items += items

    def job(self, name: str) -> Job:
        def action() -> None:
            self._answer()
            self.jobs.append(name)

        return Job(name=name, action=action)

    def is_up(self) -> bool:
        return self.up

    def _answer(self) -> None:
        self.requests += 1
        if not self.up:
            raise ConnectionError("nobody there")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_logger, "_FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(async_logger, "_LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(async_logger, "_STALL_SECONDS", 0.5)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def box_of(shelf: Shelf, *, capacity: int = 1000, batch_size: int = 10) -> AsyncLogger[int]:
    return AsyncLogger(
        "the shelf",
        connect=shelf.job("open").action,
        send=shelf.send,
        is_reachable=shelf.is_up,
        capacity=capacity,
        batch_size=batch_size,
        interval_seconds=0.02,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "waited 5 s in vain"
        time.sleep(0.005)


def test_everything_arrives_in_order_and_the_last_job_last(shelf: Shelf) -> None:
    box = box_of(shelf)
    for first in range(0, 100, 5):
        box.add(range(first, first + 5))
    box.put(shelf.job("a"))
    box.put(shelf.job("b"))
    box.close(last=shelf.job("end"))
    assert shelf.items == list(range(100))
    assert shelf.jobs == ["open", "a", "b", "end"]


def test_items_travel_together(shelf: Shelf) -> None:
    box = box_of(shelf, batch_size=50)
    for item in range(100):
        box.add([item])
    box.close()
    assert shelf.requests <= 5


def test_urgent_jobs_go_first() -> None:
    shelf = Shelf(up=False)
    box = box_of(shelf)
    box.put(shelf.job("later"))
    box.put(shelf.job("at once"), urgent=True)
    shelf.up = True
    box.close()
    assert shelf.jobs == ["open", "at once", "later"]


def test_a_service_that_comes_back_gets_all_of_it(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    box = box_of(shelf)
    box.add([0])
    wait_until(lambda: shelf.items == [0])
    shelf.up = False
    box.add(range(1, 50))
    box.put(shelf.job("a"))
    wait_until(lambda: shelf.requests > 4)
    shelf.up = True
    box.add([50])
    box.close()
    assert shelf.items == list(range(51))
    assert shelf.jobs == ["open", "a"]
    said = [record.message for record in caplog.records]
    assert [" is away" in line or " is back" in line for line in said] == [True, True]


def test_a_full_buffer_drops_the_oldest_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf(up=False)
    box = box_of(shelf, capacity=30)
    for item in range(100):
        box.add([item])
    assert box.num_dropped == 70
    shelf.up = True
    box.close()
    assert shelf.items == list(range(70, 100))
    text = caplog.text
    assert text.count("buffer of 30 metrics is full") == 1
    assert "70 metrics were dropped" in text


def test_adding_never_waits_for_a_service_that_hangs() -> None:
    hanging = threading.Event()
    shelf = Shelf()

    def hang(items: list[int]) -> None:
        hanging.wait(5)

    box: AsyncLogger[int] = AsyncLogger(
        "the shelf",
        connect=lambda: None,
        send=hang,
        is_reachable=shelf.is_up,
        interval_seconds=0.01,
    )
    began = time.monotonic()
    for item in range(10_000):
        box.add([item])
    assert time.monotonic() - began < 0.5
    began = time.monotonic()
    box.close()
    assert 0.4 < time.monotonic() - began < 2
    hanging.set()


def test_a_job_at_fault_is_left_out_alone(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    tries = []

    def fail() -> None:
        tries.append(1)
        raise ValueError("a bad figure")

    box = box_of(shelf)
    box.put(Job(name="figure.png", action=fail))
    box.put(shelf.job("next"))
    box.close()
    assert len(tries) == 3
    assert shelf.jobs == ["open", "next"]
    assert "the shelf refused figure.png; left out: a bad figure" in caplog.text


def test_closing_gives_up_on_a_dead_service_and_names_what_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = Shelf(up=False)
    box = box_of(shelf)
    box.add(range(7))
    box.put(shelf.job("config.json"))
    began = time.monotonic()
    box.close(last=shelf.job("the end"))
    assert time.monotonic() - began < 2
    assert "never got the run, config.json, the end, 7 metrics" in caplog.text


def test_a_large_upload_may_take_longer(shelf: Shelf) -> None:
    box = box_of(shelf)

    def upload() -> None:
        time.sleep(1.0)  # longer than the stall limit
        shelf.jobs.append("uploaded")

    box.put(Job(name="large", action=upload, size_bytes=3_000_000))
    box.close()
    assert shelf.jobs == ["open", "uploaded"]


def test_refused_at_the_door_keeps_nothing(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise PermissionError("not you")

    box: AsyncLogger[int] = AsyncLogger(
        "the shelf", connect=refuse, send=shelf.send, is_reachable=shelf.is_up
    )
    box.add([1])
    assert box.opened.wait(5)
    box.add([2])
    box.close(last=shelf.job("end"))
    assert not box.connected
    assert shelf.items == []
    assert [record.message for record in caplog.records] == [
        "the shelf refused the run; left out: not you"
    ]


def test_closing_twice_is_closing_once(shelf: Shelf) -> None:
    box = box_of(shelf)
    box.close(last=shelf.job("end"))
    box.close(last=shelf.job("end"))
    assert shelf.jobs == ["open", "end"]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("at http://ann:secret@host:5000/x failed", "at http://***@host:5000/x failed"),
        ("postgresql+psycopg2://u:p@db/mlflow", "postgresql+psycopg2://***@db/mlflow"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
    ],
)
def test_passwords_are_blotted_out(text: str, safe: str) -> None:
    assert without_password(text) == safe


def test_errors_are_one_short_line() -> None:
    assert brief(ValueError("two\n  lines")) == "two lines"
    assert len(brief(ValueError("x" * 1000))) == 200
    assert brief(ValueError()) == "ValueError"


@pytest.fixture(autouse=True)
def _all_warnings(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING):
        yield
