"""The report's page: what runs have left, as one HTML file that needs nothing else.

given.py      the runs that are given, and the model they are of
parts.py      what a page is made of: sections, tables, figures
sections.py   from runs to sections: data, model, training, scoring, how to repeat it
findings.py   from runs to sections: key figures, evaluation, audit, limits
folds.py      from cross-validations to a section
numbers.py    metrics by their names
gallery.py    which images are shown, and what is said of each
pictures.py   images as small as a page can carry them
html.py       sections to HTML, with page.html, page.css and page.js
"""
