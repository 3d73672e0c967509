"""multiprocessing in which every process can be killed.

`import kinfolk as mp` has all names that `multiprocessing` documents. Its processes die
with their parent; its locks, semaphores, conditions, events, barriers, queues and pipes
go on when a process that uses them is killed. What is not kinfolk's own comes from the
standard library: the table in the README says what is which.

`kinfolk.get_context()` is for libraries that take a context. `kinfolk.install()`, or
`python -m kinfolk script.py`, runs an unchanged program.
"""

from multiprocessing import AuthenticationError, BufferTooShort, ProcessError, TimeoutError

from ._install import install
from ._kinfolk import AbandonedWarning
from .context import _default_context
from .process import Process, TreeEnd

def __getattr__(name: str):
    # A pool takes modules that many programs never need.
    if name in ("WorkerDied", "WorkerState"):
        from . import pool

        return getattr(pool, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "0.1.0"

active_children = _default_context.active_children
allow_connection_pickling = _default_context.allow_connection_pickling
Array = _default_context.Array
Barrier = _default_context.Barrier
BoundedSemaphore = _default_context.BoundedSemaphore
Condition = _default_context.Condition
cpu_count = _default_context.cpu_count
current_process = _default_context.current_process
Event = _default_context.Event
freeze_support = _default_context.freeze_support
get_all_start_methods = _default_context.get_all_start_methods
get_context = _default_context.get_context
get_logger = _default_context.get_logger
get_start_method = _default_context.get_start_method
JoinableQueue = _default_context.JoinableQueue
Lock = _default_context.Lock
log_to_stderr = _default_context.log_to_stderr
Manager = _default_context.Manager
parent_process = _default_context.parent_process
Pipe = _default_context.Pipe
Pool = _default_context.Pool
Queue = _default_context.Queue
RawArray = _default_context.RawArray
RawValue = _default_context.RawValue
reducer = _default_context.reducer
RLock = _default_context.RLock
Semaphore = _default_context.Semaphore
set_executable = _default_context.set_executable
set_forkserver_preload = _default_context.set_forkserver_preload
set_start_method = _default_context.set_start_method
SimpleQueue = _default_context.SimpleQueue
Value = _default_context.Value

__all__ = [
    "AbandonedWarning",
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "TreeEnd",
    "Value",
    "WorkerDied",
    "WorkerState",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "install",
    "log_to_stderr",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
]
