"""End the workers of data loaders while they can still be told to."""
import contextlib


@contextlib.contextmanager
def no_workers_left(runner):
    """End the persistent workers of a runner's loaders behind the block; a loader that is used again starts new ones.

    Left to the garbage collector, a runner's loaders and their queues go together, the queues first: the word to stop
    no longer arrives, and torch waits five seconds for each worker before it kills it.

    Args:
        runner (Runner): Its loops need not be built.

    Yields:
        None
    """
    try:
        yield
    finally:
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            loader = getattr(loop, 'dataloader', None)
            iterator = getattr(loader, '_iterator', None)
            if hasattr(iterator, '_shutdown_workers'):
                iterator._shutdown_workers()
                loader._iterator = None
