"""What a text means that somebody gives as data: a data set's name, or a path.

    digits        the data set of that name, refused where a file or a folder here has the name too
    name:digits   the data set of that name, wherever one works
    ./digits      the folder

What is meant is kept in one spelling that means the same in every folder: the plain name of a set,
perhaps with its share, or an absolute path.

>>> meant("name:digits@10%", ["digits"]), unprefixed("digits")
('digits@10%', 'digits')
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from trilemma.core.errors import BadInput, nearest
from trilemma.data.subset import SIGN

__all__ = ["MEMORY", "NAMED", "bare", "lasting", "meant", "moved", "unprefixed"]

NAMED = "name:"
"""Stands before the name of a data set where a path could be meant."""
MEMORY = "memory:"
"""Stands before the name of data that a program had in memory, and that lie nowhere."""
DECLARED = re.compile(rf"({SIGN}ego\d{{1,3}})?({SIGN}columns:.*)?$", re.DOTALL)
"""What may stand behind a path: a radius, and kinds of columns."""


def unprefixed(text: str) -> str:
    """Return a data set's name without what says that it is one."""
    return text.removeprefix(NAMED)


def bare(path: str) -> str:
    """Return a path without what is declared of it.

    >>> bare("net.edges@ego3"), bare("people.csv@columns:age=real")
    ('net.edges', 'people.csv')
    """
    return DECLARED.sub("", path, count=1)


def meant(text: str, names: Collection[str]) -> str:
    """Return what somebody means by a text, in the spelling in which runs keep it.

    Arguments:
        text: As it was given.
        names: Of all data sets.

    Returns:
        A plain name, an absolute path, or the text as it is where it is neither.

    Raises:
        BadInput: It is the name of a data set and of a file or a folder, or follows `NAMED` and
            is no name.
    """
    name = unprefixed(text).partition(SIGN)[0]
    if text.startswith(NAMED) and name not in names:
        raise nearest("data set", name, names)
    if not text.startswith(NAMED) and name in names:
        for path in dict.fromkeys((name, text)):
            if os.path.lexists(path):
                what = "folder" if os.path.isdir(path) else "file"
                raise BadInput(
                    f"'{text}' is the name of a data set and of a {what} here; say './{path}' "
                    f"for the {what}, or '{NAMED}{text}' for the data set."
                )
    return lasting(text, names)


def lasting(text: str, names: Collection[str]) -> str:
    """Return a spelling that means the same in every folder, of a name before a path."""
    plain = unprefixed(text)
    if plain.partition(SIGN)[0] in names:
        return plain
    path = os.path.expanduser(text)
    if os.path.isabs(path) or not any(map(os.path.lexists, (path, bare(path)))):
        return path
    return os.path.join(os.getcwd(), path.removeprefix("./"))


def moved(text: str, before: str) -> str:
    """Return a path to data that lay elsewhere, with what was declared of them there.

    >>> moved("new/people.csv", "people.csv@columns:age=real"), moved("new", "net.edges@ego3")
    ('new/people.csv@columns:age=real', 'new@ego3')
    """
    declared = DECLARED.search(before)
    is_declared = bare(text) != text
    return text if declared is None or is_declared else text + declared[0]
