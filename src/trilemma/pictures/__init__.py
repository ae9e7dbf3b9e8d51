"""Pictures of tensors: images, points, graphs, molecules and clouds, and charts of numbers.

by domain     figures (`show` and `trajectory` draw examples of any domain), scatter, graphs with
              layout, molecules, point_clouds with panels, image_strips
numbers       charts, histograms; canvas (axes and SVG) beneath them
films         films (one palette for all frames), games (an adversarial game on the plane)
colours       palette: one hue and one marker a family

Each function takes tensors or numbers and returns a Pillow image, the bytes of a GIF or the text
of an SVG; it writes no file and asks no model. The room may import `core` and `data` alone;
`recipes` (previews) and `report` (pages) draw with it. Begin with `figures.py`.
"""
