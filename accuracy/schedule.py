"""Who works next: hands out what lanes have to do, shares the processors, looks at the clocks, until all is done."""

import gc
import select
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from accuracy.draw import Draw
from accuracy.lane import Lane
from accuracy.pace import PAUSE

TICK: Final = 0.2
"""Seconds between two looks at the clocks, each of which takes the parent as long as an answer: with half of it, a
look came with every eighth answer of a worker."""

MOMENT: Final = 0.005
"""Seconds of drawing the plan between two looks at what workers say: less than most of them take for a task."""


class Source(Protocol):
    """Where more tasks may come from."""

    @property
    def open(self) -> bool:
        """Whether more may come."""


def settle(
    lanes: Sequence[Lane],
    selector: selectors.BaseSelector,
    source: Source | None = None,
    draw: Draw | None = None,
    on_tick: Callable[[], None] | None = None,
) -> None:
    """Runs the lanes until nothing is left to do and no more can come from the source; `draw` draws between.

    `on_tick` is called as often as the clocks are looked at.

    What is there once all is drawn, the plan above all, is frozen meanwhile: Python's collector need not look through
    it again and again. Not where a source thinks of more in other threads: Hypothesis asks the collector who holds an
    object, and it answers for what is not frozen alone.
    """
    try:
        _settle(lanes, selector, source, draw, on_tick or (lambda: None))
    finally:
        gc.unfreeze()


def _settle(
    lanes: Sequence[Lane],
    selector: selectors.BaseSelector,
    source: Source | None,
    draw: Draw | None,
    on_tick: Callable[[], None],
) -> None:
    frozen = False
    more = [each for each in (source, draw) if each is not None]
    looked = 0.0
    while any(lane.waiting or lane.doubts.suspects or lane.busy for lane in lanes) or any(each.open for each in more):
        for lane in lanes:
            if lane.late:
                lane.give_up("the time budget was used up")
        _staff(lanes, expecting=any(each.open for each in more))
        drawing = draw is not None and draw.open
        if not drawing:
            if not frozen and source is None:
                gc.freeze()
                frozen = True
            _rest(lanes)
        for key, _ in selector.select(0 if drawing else TICK):
            key.data()
        if draw is not None and drawing:
            draw(MOMENT)
        if time.monotonic() - looked >= TICK:
            looked = time.monotonic()
            for lane in lanes:
                lane.watch()
            on_tick()


def _rest(lanes: Sequence[Lane]) -> None:
    """Lets answers gather for a moment, where all workers have enough to do; the end of one ends it."""
    if any(lane.workers for lane in lanes) and all(lane.stocked for lane in lanes):
        ends = select.poll()
        for lane in lanes:
            if lane.crew.server is not None:
                ends.register(lane.crew.server.wire, select.POLLIN)
        ends.poll(1000 * PAUSE)


def _staff(lanes: Sequence[Lane], *, expecting: bool) -> None:
    """Lets workers go that have nothing left, shares the processors, and hands out tasks.

    Suspects run when nothing else does, one at a time on the whole machine. While more is expected, workers
    stay for it, unless another lane has work and nobody to do it.
    """
    if not expecting and not any(lane.waiting or lane.busy for lane in lanes):
        trial = next((lane for lane in lanes if lane.doubts.suspects), None)
        if trial is not None and not any(worker.alone for lane in lanes for worker in lane.workers):
            trial.hire(alone=True)
    starved = any(lane.waiting and not lane.workers for lane in lanes)
    for lane in lanes:
        lane.release(keep=expecting and not starved)
    _share(lanes)
    for lane in lanes:
        for _ in range(lane.slots - len(lane.workers)):
            lane.hire()
        lane.hand_out()


def _share(lanes: Sequence[Lane]) -> None:
    """Gives free processors, one by one, to the lane with the fewest workers whose queue has work for one more."""
    for lane in lanes:
        own = lane.device.adapter.workers_for(lane.terms.accelerator_jobs, lane.terms.jobs) - len(lane.workers)
        lane.slots = len(lane.workers) + (0 if lane.crew.shared else min(own, lane.waiting))
    shared = [lane for lane in lanes if lane.crew.shared]
    for _ in range(shared[0].terms.jobs - sum(lane.slots for lane in shared) if shared else 0):
        wanting = [lane for lane in shared if lane.waiting > lane.slots - len(lane.workers)]
        if wanting:
            min(wanting, key=lambda lane: lane.slots).slots += 1
