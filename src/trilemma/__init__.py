"""Every family of generative model on your data, under one budget, measured and checked.

    import trilemma as tl

    run = tl.train("vae", data="digits", minutes=1)
    run.sample(16).save("digits.png")
    tl.evaluate(run)["fd"]
    tl.compare(data="digits", recipes=["vae", "gan", "ddpm"], minutes=1).verdict

What there is stands in `api/public.py`. Nothing is imported until a name is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trilemma.api.public import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Return a public name; the first one that is asked for imports what is behind them."""
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'trilemma' has no attribute '{name}'")
    from importlib import import_module

    public = import_module("trilemma.api.public")
    if name == "__all__":
        return list(public.__all__)
    if name not in public.__all__:
        raise AttributeError(f"module 'trilemma' has no attribute '{name}'; see dir(trilemma)")
    return getattr(public, name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__getattr__("__all__"), "__version__"]
