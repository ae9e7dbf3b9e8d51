"""Pages, and files of samples: everything that a user looks at outside a terminal.

gathering     gallery (a run, a comparison) and publication (a comparison's page and summary)
pictures      view (what a picture declares), registry (finds and draws them), views/ (the pictures
              themselves), model_view (what they are given: a model, its data, its events)
pages         html (whole pages); ranking_sections, score_sections and picture_sections (what
              stands under each heading); page (what they are made from), tables, charts,
              training_curves, details, style, markup, viewer (molecules that can be turned)
files         drawing: what `trilemma sample` writes

The room may import `comparison`, `recipes`, `pictures`, `metrics`, `training`, `data`, `maths` and
`core`; only `cli` imports it. It knows no recipe and no family by name: what is drawn of a model
follows from its abilities. Begin with `gallery.py`, which gathers a run, then `view.py`.
"""
