"""SIGTERM, what Slurm and Kubernetes send before they kill: noted, and acted on where nothing is lost."""
import os
import signal
import threading
import time

from .errors import Terminated

# torchrun hands on a SIGTERM that Slurm has sent to every process already: the echo of one request, not a second.
ECHO_SECONDS = 5
# Workers of data loaders get it too where a whole process group is signalled; they must outlive the iteration.
WORKER_SECONDS = 30


class StopRequest:
    """The state of SIGTERM in this process.

    While training, a request is only noted: :class:`mmaffnet.engine.termination.TerminationHook` acts on it after the
    iteration. Where ``interruptible`` (before the first iteration, in a validation, never while a checkpoint is saved)
    it ends the run at once. A second request ends the process like an unhandled SIGTERM.
    """

    def __init__(self):
        self.interruptible = False
        self.last_saved = None
        self._received = None
        self._previous = None
        self._pid = None

    @property
    def received(self):
        """bool: Whether the process was asked to end."""
        return self._received is not None

    def install(self):
        """Handle SIGTERM from now on; in other threads than the main one Python cannot, and it stays as it was."""
        if threading.current_thread() is threading.main_thread() and self._pid is None:
            self.interruptible, self.last_saved, self._received = True, None, None
            self._pid = os.getpid()
            self._previous = signal.signal(signal.SIGTERM, self._handle)

    def restore(self):
        """Give SIGTERM back to who had it."""
        if self._pid == os.getpid() and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._previous if self._previous is not None else signal.SIG_DFL)
            self._pid = self._received = None
            self.interruptible = False

    def end_if_possible(self):
        """End the run where a request may end it at once.

        Raises:
            Terminated: Naming what was saved last.
        """
        if self.received and self.interruptible:
            raise terminated(self.last_saved)

    def _handle(self, number, frame):
        first = self._received
        if os.getpid() != self._pid or (first is not None and time.monotonic() - first > ECHO_SECONDS):
            signal.signal(number, signal.SIG_DFL)  # a forked child, or a second request
            os.kill(os.getpid(), number)
            return
        if first is None:
            self._received = time.monotonic()
            self.end_if_possible()


stop_request = StopRequest()


def terminated(saved):
    """Build the end of an interrupted run.

    Args:
        saved (str | None): The checkpoint to go on from.

    Returns:
        Terminated: To be raised.
    """
    if saved is None:
        return Terminated('SIGTERM ended the run before it had a checkpoint; start it again')
    return Terminated(f'SIGTERM ended the run; {saved} is complete, go on with --resume')


def outlive_sigterm():
    """Let this process, a data loader's worker, live on for half a minute after a SIGTERM that is not its parent's.

    torchrun and Slurm signal whole process groups: the workers would end first, and the training would stop on a
    missing worker instead of after its iteration. The parent ends its workers by SIGTERM too; that counts at once.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # only a waiting thread learns who sent it
    threading.Thread(target=_await_sigterm, args=(os.getppid(), ), daemon=True).start()


def _await_sigterm(parent):
    sent = signal.sigwaitinfo({signal.SIGTERM})
    end = time.monotonic() + WORKER_SECONDS
    while sent is not None and sent.si_pid != parent:
        sent = signal.sigtimedwait({signal.SIGTERM}, max(0, end - time.monotonic()))
    os._exit(0 if sent else 1)


def start_worker(init, worker_id):
    """Start a data loader's worker; as ``worker_init_fn`` with the first argument bound.

    Args:
        init (Callable | None): The loader's own ``worker_init_fn``.
        worker_id (int): Of the worker.
    """
    outlive_sigterm()
    if init is not None:
        init(worker_id)
