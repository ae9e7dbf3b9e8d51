"""What a page does beside being read: folds, the table, priorities, the blind test.

All of it works on what is in the page; without scripts folds lie open, the table has all its
columns, and there are neither sliders nor a game.
"""

from __future__ import annotations

from trilemma.report.scripts import Bundle

__all__ = ["BUNDLE"]

STYLE = """
[hidden] { display: none !important; }
button, input { font: inherit; color: inherit; accent-color: var(--ink); }
button { background: none; border: 1px solid var(--rule); border-radius: 4px; cursor: pointer;
  padding: .35rem .8rem; }
button:hover { border-color: currentColor; }
th button { border: 0; padding: 0; text-align: inherit; font-weight: inherit; border-radius: 2px;
  white-space: normal; }
th button:hover { text-decoration: underline; }
th[aria-sort=ascending] button::after { content: " ▲"; font-size: .7em; }
th[aria-sort=descending] button::after { content: " ▼"; font-size: .7em; }
.sift { display: block; margin-top: 1rem; font-size: .875rem; }
.sift input { max-width: 12rem; padding: .2rem .4rem; border: 1px solid var(--rule);
  border-radius: 4px; background: var(--paper); }
.tip { min-height: 3.2em; max-width: none; }
.priorities label { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr) 5.5rem;
  gap: .8rem; align-items: center; margin: .6rem 0; font-size: .95rem; }
.priorities input { width: 100%; margin: 0; }
.priorities output { color: var(--soft); font-size: .8rem; }
.priorities .answer { font-size: 1.2rem; line-height: 1.4; min-height: 2.8em; margin-top: 1rem; }
.blind { margin-top: 1.6rem; min-height: 2.6rem; }
.blind canvas { display: block; image-rendering: pixelated; border-radius: 3px; }
.blind .buttons { display: flex; gap: .8rem; margin-top: .8rem; }
@media print { .priorities, .blind, .sift, .tip { display: none; } }
"""

BUNDLE = Bundle(name="the page's own", marker="interactive", scripts=("page.js",), style=STYLE)
