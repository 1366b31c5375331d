"""Threads that write shards: each has one of its own, and helps with another's when none is left.

Two threads that write one file wait for each other, so a shard is shared only at the end, or where
there is but one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from threading import Condition, Thread

from mapcc.plan.parts import Part
from mapcc.runtime.shard import Shard
from mapcc.runtime.worker import Worker

# Seconds between two calls of the progress, where threads work.
_TICK = 0.1


class Pool:
    """Hands out parts, and ends with the first error."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._waiting = deque(shards)
        self._active: list[Shard] = []
        self._parts: dict[Shard, Iterator[Part]] = {}
        self._ahead: dict[Shard, Part | None] = {}
        self._out: dict[Shard, int] = {}
        self._starting = 0
        self._changed = Condition()
        self._failure: BaseException | None = None
        self._stopped = False
        self._workers: list[Worker] = []

    def work(self, worker: Worker, report: Callable[[], None] | None = None) -> None:
        """Until nothing is left: what each thread does."""
        own: Shard | None = None
        while (taken := self._take(own)) is not None:
            own, part = taken
            if part is None:
                self._started(own, own.start(worker))
            else:
                worker.make(own, part)
                if self._made(own):
                    own.finish(worker)
            if report is not None:
                report()

    def run(self, workers: list[Worker], report: Callable[[], None]) -> None:
        """With one worker in this thread; else in threads, while this one reports."""
        if len(workers) == 1:
            self.work(workers[0], report)
            return
        self._workers = workers
        threads = [Thread(target=self._guarded, args=(worker,), daemon=True) for worker in workers]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_TICK)
                    report()
        finally:
            self._stop(None)
            _join(threads)
        if self._failure is not None:
            raise self._failure

    def _guarded(self, worker: Worker) -> None:
        try:
            self.work(worker)
        except BaseException as error:
            self._stop(error)

    def _stop(self, error: BaseException | None) -> None:
        with self._changed:
            self._stopped = True
            self._failure = self._failure or error
            for worker in self._workers:
                worker.stopped = True
            self._changed.notify_all()

    def _take(self, own: Shard | None) -> tuple[Shard, Part | None] | None:
        """A shard and its next part; without a part if the shard is to be started."""
        with self._changed:
            while not self._stopped:
                if own is not None and (part := self._next(own)) is not None:
                    return own, part
                if self._waiting:
                    self._starting += 1
                    return self._waiting.popleft(), None
                for shard in self._active:
                    if (part := self._next(shard)) is not None:
                        return shard, part
                if not self._starting:
                    return None
                self._changed.wait()
            return None

    def _next(self, shard: Shard) -> Part | None:
        part = self._ahead.get(shard)
        if part is not None:
            self._ahead[shard] = next(self._parts[shard], None)
            self._out[shard] += 1
        return part

    def _started(self, shard: Shard, is_open: bool) -> None:
        with self._changed:
            self._starting -= 1
            if is_open:
                self._active.append(shard)
                self._parts[shard] = shard.parts()
                self._ahead[shard] = next(self._parts[shard], None)
                self._out[shard] = 0
            self._changed.notify_all()

    def _made(self, shard: Shard) -> bool:
        """Whether that was the shard's last part, and all are whole: true for one thread alone."""
        with self._changed:
            self._out[shard] -= 1
            # Once stopped, a worker ends a part where it is: the shard has holes.
            if self._stopped or self._out[shard] or self._ahead[shard] is not None:
                return False
            self._active.remove(shard)
            return True


def _join(threads: list[Thread]) -> None:
    """Wait, whatever comes: what the threads write to must not be closed under them."""
    for thread in threads:
        while thread.is_alive():
            with suppress(KeyboardInterrupt):
                thread.join()
