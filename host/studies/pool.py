"""The processes or computers of a study: whatever joblib can give teams to."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

from joblib import Parallel, delayed
from joblib.externals.loky.backend import resource_tracker as loky_tracker

from host.base import cli
from host.base.cli import UserError
from host.engine.lanes import cores
from host.studies.directory import Turn
from host.studies.work import Ended, Job, work

DASK, LOKY = "dask", "loky"
CONNECT = 20  # seconds for a scheduler to answer


class Pool:
    """Workers on a joblib backend; a context. workers: how many teams are trained at a time.

    Its threads are begun where signals do not get: within cli.shielded().
    """

    def __init__(self, backend: str, workers: int | None, scheduler: str | None):
        """Raises UserError if there is no such backend, or no scheduler at this address."""
        self.stack = contextlib.ExitStack()
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)  # another takes its place
        self.options: dict[str, Any] = {"backend": backend}
        for tracker in (resource_tracker, loky_tracker):  # else its start would take the shield away, in some versions
            tracker.ensure_running()
        self.workers = workers or cores()
        if backend == DASK:
            with cli.shielded():
                client = self._cluster(scheduler)
            if workers is None or scheduler is not None:
                self.workers = min(workers or 2**31, sum(client.ncores().values()))
            self.options["backend"] = dask_backend()(client=client)
        try:
            Parallel(n_jobs=2, **self.options)
        except (ValueError, TypeError) as error:
            self.stack.close()
            raise UserError(f"joblib has no backend {cli.shown(backend)} ({error}); choose {LOKY} or {DASK}") from error

    def _cluster(self, scheduler: str | None) -> Any:
        """A client of the scheduler at this address, else of a new one with workers on this computer."""
        try:
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise UserError("--backend dask needs Dask; install it with: pip install -e '.[cluster]'") from error
        if scheduler is not None:
            try:
                client = self.stack.enter_context(Client(scheduler, timeout=CONNECT, set_as_default=False))
                client.wait_for_workers(1, timeout=CONNECT)
            except (OSError, ValueError, TimeoutError) as error:
                self.stack.close()
                raise UserError(
                    f"--scheduler {cli.shown(scheduler)}: no Dask scheduler with workers answers there ({error}); start"
                    " it, or leave the option out for workers on this computer"
                ) from error
            return client
        try:
            local = LocalCluster(self.workers, threads_per_worker=1, dashboard_address=None, silence_logs=50)
        except (OSError, RuntimeError) as error:
            raise UserError(f"Dask starts no workers here ({error}); leave --backend {DASK} out") from error
        return self.stack.enter_context(Client(self.stack.enter_context(local), set_as_default=False))

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stack.close()

    def work(
        self, teams: Iterable[Sequence[Job]], at_once: int, source: str | None, turn: Turn
    ) -> Iterator[list[Ended]]:
        """Have the teams trained, so many at once; yield how each has ended, as it does.

        `teams` is asked for the next one when one has ended. Raises what the backend raises when a worker dies.
        """
        # Never one job: joblib would run it in this process.
        parallel = Parallel(
            max(2, self.workers),
            **self.options,
            pre_dispatch=at_once,
            batch_size=1,
            return_as="generator_unordered",
        )
        yield from parallel(delayed(work)(team, source, turn) for team in teams)


def dask_backend() -> type[Any]:
    """joblib's backend for Dask, but for two things.

    It would wait for ever for a team that Dask gives up because its worker died again and again; and a cluster with
    one worker is a cluster, too.
    """
    from joblib._dask import DaskDistributedBackend

    class Cluster(DaskDistributedBackend):  # type: ignore[misc]
        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)

            def told(done: Any) -> None:
                if callback and (error := done.exception()):
                    callback(error)

            future.add_done_callback(told)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

        def effective_n_jobs(self, n_jobs: int) -> int:
            found: int = super().effective_n_jobs(n_jobs)
            return max(2, found)

    return Cluster
