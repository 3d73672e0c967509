"""How values become bytes and values again: by the standard library's `ForkingPickler`,
and functions that it cannot pickle by cloudpickle, if that is installed."""

from __future__ import annotations

import io
from multiprocessing.reduction import ForkingPickler

__all__ = ["dumps", "loads"]


def dumps(value: object) -> bytes:
    """Pickles a value. Raises what the standard library does if it cannot be."""
    buffer = io.BytesIO()
    try:
        ForkingPickler(buffer).dump(value)
    except Exception:
        try:
            import cloudpickle
        except ImportError:
            pass
        else:
            try:
                return cloudpickle.dumps(value)
            except Exception:
                pass
        raise
    return buffer.getvalue()


loads = ForkingPickler.loads
