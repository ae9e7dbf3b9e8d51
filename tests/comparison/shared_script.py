"""Run the command line with quick heartbeats and without pages: for tests of several processes."""

from __future__ import annotations

import functools
import sys

import torch

from trilemma import compare, gallery
from trilemma.cli import main
from trilemma.comparison.claims import Claims
from trilemma.report.page import Entry

torch.set_num_threads(1)
compare.Claims = functools.partial(Claims, beat=0.2, stale=3.0)
gallery.entry = lambda folder, row, data: Entry(row)
gallery.run_report = lambda run, data: None
sys.exit(main(sys.argv[1:]))
