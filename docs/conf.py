"""How the pages become a site: `make docs` writes it to build/docs."""

from __future__ import annotations

import re
from typing import Any

import taskctl

project = "taskctl"
author = copyright = "the taskctl authors"
release = version = taskctl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx_copybutton"]
intersphinx_mapping: dict[str, tuple[str, None]] = {}
html_theme = "furo"
html_title = f"taskctl {release}"
html_static_path: list[str] = []
html_theme_options = {"source_view_link": "", "navigation_with_keys": True}
highlight_language = "python"

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
#: Blocks say who runs them: `console worker`, `python title=proj/app.py`.
suppress_warnings = ["misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
nitpicky = False
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

#: What reStructuredText would take for markup, where docstrings mean themselves.
_MARKUP = re.compile(r"(?<!\\)([*|]|_(?=\W|$))")


def _plain(line: str) -> str:
    """Return one line of a docstring, which is plain text with `code` in it, for Sphinx."""
    pieces = line.split("`")
    pieces[::2] = [_MARKUP.sub(r"\\\1", piece) for piece in pieces[::2]]
    return "``".join(pieces)


def _docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape prose, and make indented paragraphs the blocks of code that they are."""
    done: list[str] = []
    block = False
    for line in lines:
        indented = line.startswith(("    ", ">>>"))
        if indented and not block and (not done or not done[-1].strip()):
            block = True
            done += [] if line.startswith(">>>") else [".. code-block:: text", ""]
        elif line.strip() and not indented:
            block = False
        done.append(line if block else _plain(line))
    lines[:] = done


def setup(app: Any) -> None:
    """Let docstrings be read as what they are."""
    app.connect("autodoc-process-docstring", _docstring)
