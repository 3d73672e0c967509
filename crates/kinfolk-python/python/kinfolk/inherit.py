"""What a child makes of the descriptors that it has inherited."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def of_fds(make: Callable[..., T], *inherited: Any) -> T:
    """Makes a handle, which has descriptors of its own, in place of inherited ones."""
    fds = [one.detach() for one in inherited]
    try:
        return make(*fds)
    finally:
        for fd in fds:
            os.close(fd)
