"""The same work for many cases, in several processes that end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager


def each(work: Callable, rows: list[dict], jobs: int, *arguments) -> Iterator[tuple[str, str]]:
    """Do `work` for each row, in several processes if asked; yield the case and what came of it."""
    if jobs == 1 or len(rows) < 2:
        for row in rows:
            yield row["case"], work(row, *arguments)
        return
    jobs = min(jobs, len(rows))
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    os.environ |= {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": "1"}
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _end_with_parent) as pool:
        # the processes that start here inherit it: the parent alone is interrupted
        with handled(signal.SIGINT, signal.SIG_IGN):
            futures = {pool.submit(work, row, *arguments): row["case"] for row in rows}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise MemoryError(
                "a process was killed, perhaps for want of memory; the same command goes on where it was, better with "
                "fewer --jobs"
            ) from error
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """Let this process end when the one that started it does, whatever ended that."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def handled(number: int, handler) -> Iterator[None]:
    """Meanwhile a signal is answered by `handler`; only the main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before or signal.SIG_DFL)
