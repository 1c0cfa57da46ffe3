import ctypes
import os
import signal
import time

from pipelines.video.killable import Done, Lost, Moved, Tick, run_killable


def behave(manner: str, tick: Tick) -> str:
    if manner == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if manner == "hang":
        ctypes.PyDLL(None).sleep(1000)  # a PyDLL keeps the GIL, as decord does
    if manner == "raise":
        raise RuntimeError("no good")
    if manner == "slow":
        for step in range(8):
            time.sleep(0.3)
            tick(step / 8)
    return manner.upper()


def test_a_call_that_hangs_crashes_or_raises_costs_only_itself() -> None:
    manners = ["hang", "crash", "fine", "raise", "slow", "fine"]
    ends: list[object] = []
    moved = 0
    for event in run_killable(behave, manners, num_workers=2, timeout_seconds=1.5):
        if isinstance(event, Moved):
            moved += 1
        else:
            ends.append(event)
    lost = {end.item: end for end in ends if isinstance(end, Lost)}
    done = sorted(end.result for end in ends if isinstance(end, Done))
    assert done == ["FINE", "FINE", "SLOW"]
    assert lost["hang"].reason == "probe timed out after 1.5 s"
    assert lost["crash"].reason == "probe crashed: SIGSEGV"
    assert lost["raise"].reason == "probe failed: RuntimeError: no good"
    assert moved > 4  # slow took longer than the limit, but said that it was alive


def test_stopping_early_ends_the_processes() -> None:
    before = time.monotonic()
    events = run_killable(behave, ["fine", "hang"], num_workers=1, timeout_seconds=600)
    assert any(isinstance(event, Done) for event in iter(lambda: next(events), None))
    events.close()
    assert time.monotonic() - before < 60
