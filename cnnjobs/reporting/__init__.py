"""From runs to one self-contained HTML page.

report.py             the job: read runs, choose images, draw heat maps, render
inputs.py             the runs to report, with their bundle and manifests
data_section.py       images by class, split and source
model_section.py      architecture, layers and preprocessing
sections.py           training, scoring, and how to repeat both
results.py            key figures and evaluations
cross_validation.py   metrics over folds and by source
external.py           tests on images of other collections
limits.py             audit and limits
card.py               the words of a model card, and checklists for studies
checklists.py         items of TRIPOD+AI and CLAIM
gallery.py            which images are shown, and what is known of each
heat_maps.py          Grad-CAM for the most wrong and the most certain
thumbnails.py         images small enough for a page
blocks.py             Section, Table, Figure, Tile: all the template knows
formatting.py         names and digits of metrics
render.py             blocks to HTML, with page.html, page.css and page.js
"""
