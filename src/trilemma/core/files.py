"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trilemma.core.errors import BadInput

__all__ = ["atomic_write", "replacing"]


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a name beside the target to write to, which becomes the target when all is written.

    The name has the target's suffix. What stood at the target stays until then, and for good where
    the block raises; nothing is left beside it.

    Raises:
        OSError: There is no room or no permission.
    """
    partial: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, suffix=target.suffix)
        os.close(handle)
        partial = Path(name)
        yield partial
        partial.chmod(0o644)
        partial.replace(target)
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Do as `replacing`, for a file that a person has asked for.

    Raises:
        BadInput: There is no room or no permission; what stood there before still does.
    """
    try:
        with replacing(target) as partial:
            yield partial
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no space is left" if is_full else error.strerror
        raise BadInput(f"cannot write {target}: {reason}; give another path.") from None
