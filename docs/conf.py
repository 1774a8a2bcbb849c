"""The documentation: `sphinx-build -W --keep-going -b html docs docs/_build/html`.

It is built without a network. The reference in `api/` and the copies in `notebooks/`
are written here before the pages are read, so that neither can be forgotten, and
`check.py` looks at what was built.
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import docstrings
import mathml
import reference
from docutils import nodes
from sphinx.application import Sphinx

import jinit

project = "jinit"
author = "the jinit developers"
version = release = jinit.__version__
html_title = f"jinit {version}"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_show_copyright = False
html_copy_source = False
exclude_patterns = ["_build"]
smartquotes_action = "D"  # dashes alone: what is quoted is to be typed

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
default_role = "py:obj"  # docstrings quote names, and code, by single backticks
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
napoleon_use_param = False  # several options may share a line

# Every name of jinit that a docstring quotes must exist.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!jinit\.).*|.*\._.*")]

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"
myst_heading_anchors = 3


def setup(app: Sphinx) -> dict[str, bool]:
    """Writes what is to be read, and has docstrings read as they are meant."""
    app.add_html_math_renderer("mathml", (mathml.inline, None), (mathml.block, None))
    app.connect("config-inited", lambda app, config: write_sources(app.srcdir))
    app.connect("autodoc-process-docstring", docstrings.to_rst, priority=400)
    app.connect("autodoc-process-signature", reference.signature)
    app.connect("autodoc-skip-member", reference.is_a_field)
    app.connect("doctree-read", lambda app, doctree: without_last_lines(doctree))
    return {"parallel_read_safe": True}


def without_last_lines(doctree: nodes.document) -> None:
    """Ends examples where they end: in Markdown a doctest needs an empty line more."""
    for node in doctree.findall(nodes.literal_block):
        node.rawsource = node.astext().rstrip("\n")
        node.children = [nodes.Text(node.rawsource)]


def write_sources(folder: str | pathlib.Path) -> None:
    """Writes the reference and copies the notebooks, where they have changed."""
    folder = pathlib.Path(folder)
    texts = {f"api/{name}.rst": text for name, text in reference.pages().items()}
    for notebook in (folder.parent / "notebooks").glob("*.ipynb"):
        texts[f"notebooks/{notebook.name}"] = notebook.read_text()
    for old in [*folder.glob("api/*"), *folder.glob("notebooks/*")]:
        if str(old.relative_to(folder)) not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
