"""Scripts that a page carries: each in the page once, where something on it needs it, and named.

A page without a marked element has no script. One with some carries the scripts of their bundles
and runs these alone: the policy names each by its SHA-256, forbids `eval`, and every connection,
worker and outside address. Whatever a script adds stands beside what is seen without it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from trilemma.report.markup import Markup, element

__all__ = ["Bundle", "needed", "notices", "policy", "texts"]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Scripts that are of use together, and what they need of a page."""

    name: str
    """As readers know it."""
    marker: str
    """The class of the elements that they work on, by which a page is seen to need them."""
    scripts: tuple[str, ...]
    """Files of `report/files/`, in the order in which they run."""
    style: str = ""
    """Rules for these elements."""
    licences: tuple[str, ...] = ()
    """Files of `report/files/` that a page which carries the scripts must carry too."""

    def texts(self) -> tuple[str, ...]:
        """Return the scripts, in their order."""
        return tuple(map(_read, self.scripts))

    def licence(self) -> str:
        """Return the licences; '' where all of it is ours."""
        return "\n\n".join(map(_read, self.licences))


@cache
def _read(name: str) -> str:
    return (files("trilemma.report") / "files" / name).read_bytes().decode("utf-8")


def needed(body: Markup, bundles: Sequence[Bundle]) -> list[Bundle]:
    """Return the bundles whose marker is the first class of some element of a page.

    What users named cannot be mistaken for one: quotes in it are escaped.
    """
    return [
        bundle
        for bundle in bundles
        if any(f'class="{bundle.marker}{end}' in body for end in ('"', " "))
    ]


def texts(bundles: Sequence[Bundle]) -> list[str]:
    """Return the scripts of several bundles, each once, in their order."""
    return list(dict.fromkeys(text for bundle in bundles for text in bundle.texts()))


def policy(scripts: Sequence[str]) -> str:
    """Return what a content security policy says of scripts: these texts alone, and no network.

    >>> policy(["1"])[:64]
    "script-src 'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='"
    """
    hashes = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts
    )
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return f"script-src {allowed}; connect-src 'none'; worker-src 'none'"


def notices(bundles: Sequence[Bundle]) -> list[Markup]:
    """Return the licences of several bundles, folded."""
    return [
        element(
            "details",
            element("summary", f"{bundle.name}: licence"),
            element("pre", bundle.licence()),
        )
        for bundle in bundles
        if bundle.licences
    ]
