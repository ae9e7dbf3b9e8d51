"""A fragment that is to be completed, from a file: atoms in space, or points that are none.

    .xyz .sdf .mol      atoms, in ångström; of an .sdf their elements and places alone
    .ply .npy           points

All atoms of the file are the fragment, in one piece or in several. None is added: an atom without
a hydrogen is one at which the rest may be attached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from trilemma.core.errors import BadInput
from trilemma.data.chemistry import UNREADABLE
from trilemma.data.molecule_files import structures
from trilemma.data.pictures import printable
from trilemma.data.point_cloud_files import FORMS as CLOUDS
from trilemma.data.point_cloud_files import Frame, UnusableFrame, checked, frames

__all__ = ["FORMS", "read"]

STRUCTURES = (".sdf", ".mol")
FORMS = (*CLOUDS, *STRUCTURES)


def read(path: Path) -> tuple[Frame, list[str]]:
    """Read a file that holds one fragment.

    Returns:
        The fragment where it lies, and what was read as something else.

    Raises:
        BadInput: There is no such file, it cannot be read, it holds no atom or several frames, or
            the frame cannot be used.
    """
    name, changes = printable(path.name), Counter[str]()
    if not path.is_file():
        raise BadInput(f"there is no file '{printable(str(path))}' with a fragment.")
    try:
        if path.suffix.lower() in STRUCTURES:
            frame_list = list(_frames(path))
        else:
            frame_list = [frame for _, frame in frames(path, changes)]
    except (OSError, ValueError) as error:
        raise BadInput(f"'{name}' cannot be read: {error}.") from None
    if len(frame_list) > 1:
        raise BadInput(
            f"'{name}' holds {len(frame_list):,} frames, and one is completed; give a file of "
            "one, whose atoms may be of several fragments."
        )
    if not frame_list or (isinstance(frame_list[0], Frame) and not len(frame_list[0].positions)):
        raise BadInput(f"'{name}' holds no atom; a fragment has one or more.")
    try:
        return _usable(frame_list[0]), list(changes)
    except UnusableFrame as reason:
        raise BadInput(f"the fragment of '{name}' {reason}.") from None


def _frames(path: Path) -> Iterator[Frame | UnusableFrame]:
    """Yield the atoms of the molecules of a structure file with their positions."""
    for _, mol in structures(path):
        if mol is None or not mol.GetNumConformers():
            yield UnusableFrame(UNREADABLE)
            continue
        symbols = tuple(atom.GetSymbol() for atom in mol.GetAtoms())
        coordinates = torch.tensor(mol.GetConformer().GetPositions(), dtype=torch.float32)
        yield Frame(coordinates.view(len(symbols), 3), symbols)


def _usable(frame: Frame | UnusableFrame) -> Frame:
    """Return a frame that can be used: as a cloud of data can, or a single point."""
    if isinstance(frame, Frame) and len(frame.positions) == 1:
        if not bool(frame.positions.isfinite().all()):
            raise UnusableFrame("has a coordinate that is no finite number")
        return frame
    return checked(frame)
