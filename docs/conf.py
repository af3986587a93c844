"""The site: `make docs` builds it into build/docs, and every warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import generate

import mm_kptm

project = "mm-kptm"
release = version = mm_kptm.__version__
project_copyright = "the authors of mm-kptm, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
suppress_warnings = [
    "misc.highlighting_failure",  # JSON Lines are no JSON
    "ref.python",  # the type complex in a signature is no reference to an attribute of that name
]
html_theme = "furo"
html_title = f"mm-kptm {version}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True


class Catalogue(SphinxDirective):
    """Every system there is, made from the recipes."""

    def run(self) -> list[nodes.Node]:
        """Parse the generated sections where the directive stands."""
        self.env.note_reread()
        return self.parse_text_to_nodes(generate.catalogue(mm_kptm.catalogue()), allow_section_headings=True)


class VisionTasks(SphinxDirective):
    """The tasks about images, made from the data sets."""

    def run(self) -> list[nodes.Node]:
        """Parse the generated table where the directive stands."""
        self.env.note_reread()
        return self.parse_text_to_nodes(generate.vision_tasks())


def write_rooms(app: Sphinx) -> None:
    """Write the pages of the rooms before Sphinx looks for pages."""
    generate.write(Path(app.srcdir) / "api")


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> Any:
    """Lead references to a name in its module to the room where it is documented."""
    documented = generate.aliases().get(str(node.get("reftarget")))
    if node.get("refdomain") != "py" or documented is None:
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], documented, node, content)


def setup(app: Sphinx) -> None:
    """Tell Sphinx about the pages that are made."""
    app.add_lexer("tsv", TextLexer)
    app.add_directive("catalogue", Catalogue)
    app.add_directive("vision-tasks", VisionTasks)
    app.connect("builder-inited", write_rooms)
    app.connect("missing-reference", resolve)
