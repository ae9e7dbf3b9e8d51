"""How a page looks: one style sheet, light and dark, for screens, phones and paper."""

from __future__ import annotations

from trilemma.pictures.palette import FAMILIES, OTHER

__all__ = ["sheet"]

PAGE = """
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums lining-nums;
}
main { max-width: 75rem; margin: 0 auto; padding: 2.6rem 1.5rem 3rem; }
h1, h2, h3 { line-height: 1.2; margin: 0; font-weight: 620; text-wrap: balance; }
h1 { font-size: clamp(2rem, 5vw, 3rem); letter-spacing: -.022em; overflow-wrap: anywhere; }
h2 { font-size: 1.45rem; letter-spacing: -.012em; margin: 3.2rem 0 .35rem; }
h3 { font-size: 1rem; }
dl + h3, .scroll + h3 { margin-top: 1.8rem; }
p { margin: .5rem 0; max-width: 46rem; }
.facts, .note, figcaption, caption, .small { color: var(--soft); font-size: .875rem; }
.facts { margin-top: .6rem; font-size: .95rem; }
.verdict {
  font-size: clamp(1.3rem, 2.9vw, 1.8rem); line-height: 1.38; letter-spacing: -.01em;
  max-width: 54rem; margin: 1.5rem 0 .9rem; text-wrap: pretty;
}
.advice { font-size: 1.05rem; color: var(--soft); max-width: 50rem; }
nav { margin-top: 2rem; display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; font-size: .9rem; }
nav a { color: var(--soft); text-decoration: none; border-bottom: 1px solid var(--rule); }
nav a:hover, nav a:focus-visible { color: var(--ink); border-color: currentColor; }
.glyph { width: .8em; height: .8em; margin-right: .45em; vertical-align: -.04em; flex: none; }
.name { font-weight: 620; overflow-wrap: anywhere; }
figure { margin: 0; min-width: 0; }
figure img { display: block; width: 100%; height: auto; }
figure > svg, .on-wide > svg, .on-narrow > svg, .scroll > svg {
  display: block; max-width: none; height: auto;
}
.on-narrow { display: none; }
.discs { white-space: nowrap; }
.disc {
  display: inline-block; border-radius: 50%;
  background: currentColor; opacity: .55; vertical-align: middle; margin: 0 .3em 0 .7em;
}
figure img { border-radius: 3px; }
figcaption { margin-top: .55rem; line-height: 1.4; }
figcaption .name, figcaption h3 { color: var(--ink); font-size: 1rem; }
figcaption.above { margin: 0 0 .5rem; }
figure img.exact { width: auto; max-width: 100%; image-rendering: pixelated; border-radius: 0; }
p, li, h3, dt, dd, summary, figcaption { overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
.opening { grid-template-columns: 42rem minmax(0, 1fr); gap: 2.4rem; margin-top: 2rem; }
.opening > :only-child { max-width: 42rem; }
.fold > summary .small { margin-left: .8rem; font-weight: 400; }
.model > h3 { margin-top: 1.8rem; }
.names span { margin-right: .9rem; }
.row { display: grid; gap: 1.6rem 1.4rem; margin-top: 1.2rem; align-items: start; }
.samples { grid-template-columns: repeat(auto-fill, minmax(min(100%, 16.9rem), 1fr)); }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 2.2rem; }
.three { grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 2.2rem; }
.few { grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1.6rem; }
.two { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 2.2rem; }
.whole { gap: 2.4rem; margin-top: 2.2rem; }
.whole .scroll { margin-top: 0; }
.whole img { width: auto; max-width: 100%; min-width: min(100%, 20rem); }
.strip { display: flex; gap: .8rem; overflow-x: auto; padding-bottom: .5rem; }
.strip figure { flex: 0 0 9rem; }
.real img { outline: 2px solid var(--ink); outline-offset: 3px; }
.rank { list-style: none; margin: .9rem 0 0; padding: 0; }
.rank li {
  display: grid; grid-template-columns: 1.9rem minmax(0, 1fr) auto; gap: 0 .3rem;
  margin: .75rem 0;
}
.rank .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0; }
.rank .place { color: var(--soft); }
.rank .figure { font-weight: 620; }
.rank .bar { grid-column: 2 / 4; height: 5px; border-radius: 3px; background: var(--wash); }
.rank .bar i { display: block; height: 5px; border-radius: 3px; min-width: 3px; }
.rank .small { grid-column: 2 / 4; line-height: 1.35; }
.scroll { overflow-x: auto; margin: 1.2rem -1.5rem 0; padding: 0 1.5rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; line-height: 1.35; }
caption { caption-side: bottom; text-align: left; padding-top: .9rem; line-height: 1.5; }
caption > span {
  display: inline-block; position: sticky; left: 0; max-width: min(60rem, calc(100vw - 2.2rem));
}
th, td { padding: .5rem .5rem; text-align: right; vertical-align: top; white-space: nowrap; }
th { font-weight: 500; color: var(--soft); }
thead th {
  vertical-align: bottom; border-bottom: 1.5px solid var(--ink); white-space: normal;
  text-wrap: balance;
}
thead .group th {
  border-bottom: 0; text-align: left; font-size: .8rem; padding-bottom: 0; color: var(--soft);
}
thead .group th + th { border-left: 0; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tbody + tbody tr:first-child > * { border-top: 1.5px solid var(--ink); }
tbody.marks td, tbody.marks th { color: var(--soft); }
th:first-child, td.text, th.text { text-align: left; }
th[scope=row] {
  max-width: 13rem; overflow: hidden; text-overflow: ellipsis;
  position: sticky; left: 0; background: var(--paper); color: var(--ink); text-align: left;
}
thead th:first-child { position: sticky; left: 0; background: var(--paper); z-index: 1; }
td small, th small { display: block; color: var(--soft); font-size: .75rem; font-weight: 400; }
th[scope=row] small { margin-left: 1.46em; }
tbody.marks small { display: none; }
td b { font-weight: 720; }
td.best { background: var(--wash); }
.settings td, .settings th { white-space: normal; overflow-wrap: anywhere; }
.cost table { width: auto; min-width: min(100%, 22rem); }
.settings th { width: 15rem; font-weight: 500; color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.2rem; margin: 1rem 0;
  font-size: .9rem; max-width: 60rem; }
dt { font-weight: 620; }
dd { margin: 0; color: var(--soft); }
details { border-top: 1px solid var(--rule); padding: .6rem 0; }
section > .scroll + details, section > dl + details { margin-top: 1.8rem; }
details:last-of-type { border-bottom: 1px solid var(--rule); }
summary { cursor: pointer; font-weight: 560; }
footer {
  max-width: 75rem; margin: 0 auto; padding: 0 1.5rem 4rem; color: var(--soft); font-size: .8rem;
}
footer pre { overflow-x: auto; font-size: .7rem; }
@media (max-width: 71rem) {
  .opening { grid-template-columns: minmax(0, 1fr); }
}
@media (max-width: 44rem) {
  figure:has(> svg) { overflow-x: auto; }
  main { padding: 2rem 1.1rem 3rem; }
  footer { padding: 0 1.1rem 3rem; }
  h2 { margin-top: 3rem; }
  .scroll { margin: 1rem -1.1rem 0; padding: 0 1.1rem; }
  .on-wide { display: none; }
  .on-narrow { display: block; }
  .two { grid-template-columns: minmax(0, 1fr); }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .6rem; }
  .settings th { width: 9rem; }
}
@media print {
  @page { margin: 14mm; }
  body { font-size: 10.5pt; }
  main { padding: 0; max-width: none; }
  nav { display: none; }
  h2 { break-after: avoid; margin-top: 2rem; }
  figure, .rank li, tr, dl > * { break-inside: avoid; }
  .scroll { overflow: visible; margin: 1rem 0 0; padding: 0; }
  table { font-size: 7.5pt; }
  th, td { padding: .25rem .3rem; }
  td small, th small { font-size: 6.5pt; }
  th[scope=row], thead th:first-child { position: static; }
  details::details-content { content-visibility: visible; height: auto; }
  .samples { grid-template-columns: repeat(5, 1fr); gap: 1rem .8rem; }
  .three { grid-template-columns: repeat(3, 1fr); gap: 1.4rem; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

LIGHT = {
    "paper": "#fefefd",
    "ink": "#1a1c1f",
    "soft": "#5b6067",
    "rule": "#e2e3e4",
    "wash": "#f0f0ee",
}
DARK = {
    "paper": "#131417",
    "ink": "#e9e9e6",
    "soft": "#a3a8ae",
    "rule": "#2c2f34",
    "wash": "#212429",
}


def sheet() -> str:
    """Return the style sheet: the two sets of colours, and the page."""
    hues = (*FAMILIES.values(), OTHER)
    light = LIGHT | {h.name: h.light for h in hues}
    dark = DARK | {h.name: h.dark for h in hues}
    return (
        f":root {{ color-scheme: light dark; {_variables(light)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(dark)} }} }}"
        f"{PAGE}"
    )


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
