"""Notebooks as pages of HTML that ask nobody for anything: formulas, pictures and widgets are in the file."""

import base64
import copy
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import math_core
from jinja2 import pass_context
from jinja2.runtime import Context
from mistune import BlockParser, InlineParser
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from traitlets import Bool, default
from traitlets.config import Config

HERE = Path(__file__).parent
LIVE = "application/vnd.lecture-lib.live+html"
"""In a stored notebook: HTML of a widget that needs no kernel. Code hosts do not know this type, and show the
picture beside it; of text/html they would show the remains without scripts."""

_WIDGET = "application/vnd.jupyter.widget-view+json"
_PICTURE = "{{png}}"

# What JupyterLab takes for a formula, and before it what it takes for code or an escaped sign.
_FORMULA = re.compile(
    r"^[ ]{0,3}(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(?:^[ ]{0,3}(?P=fence)[`~]*[ ]*$|\Z)"
    r"|(?<![\\`])(?P<ticks>`+)(?!`)(?:[^\n]|\n(?!\s*\n))+?(?<!`)(?P=ticks)(?!`)"
    r"|(?P<environment>\\begin\{(?P<name>[a-z]+\*?)\}.*?\\end\{(?P=name)\})"
    r"|\\\\\[(?P<bracket>.+?)\\\\\]"
    r"|\\\\\((?P<round>.+?)\\\\\)"
    r"|\\[\\$]"
    r"|\$\$(?P<block>(?:\\.|[^$\\])+)\$\$"
    r"|\$(?P<inline>(?:\\.|[^$\\\n]|\n(?!\s*\n))+)\$",
    re.DOTALL | re.MULTILINE,
)
_NUMBERED = re.compile(r"\\(begin|end)\{(align|equation|gather|multline)\}")  # JupyterLab numbers none
_MARK = "\ue000{}\ue001"  # for private use: it means nothing in Markdown, HTML or a notebook
_MARKS = re.compile("\ue000([0-9]+)\ue001")
_LOADS = re.compile(
    r"""<(?:img|script|iframe|video|audio|source|track|embed|link|object)\b[^>]*?"""
    r"""\s(?:src|href|data|poster)\s*=\s*["']?((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE,
)
_OTHER_NOTEBOOK = re.compile(r"^(?![a-z]+:|/)([^?#]*)\.ipynb(?=#|$)", re.IGNORECASE)


class FormulaError(ValueError):
    """A formula that cannot be written as MathML."""


def formula(latex: str, *, display: bool = False) -> str:
    """A formula as MathML, which browsers show by themselves.

    Args:
        latex: The formula without its dollars.
        display: Whether it stands in a line of its own.

    Raises:
        FormulaError: LaTeX that is wrong or not known.
    """
    converter = math_core.LatexToMathML(allow_unreliable_rendering=True, fancy_error=False)
    try:
        told = converter.convert_with_local_state(latex.strip(), displaystyle=display)
    except math_core.LatexError as error:
        raise FormulaError(f"formula {latex.strip()!r}: {error}") from error
    return f'<span class="formula">{told}</span>' if display else told


def markdown(source: str, **options: Any) -> str:
    """Markdown as HTML, its formulas as MathML and its links to other notebooks as links to their pages.

    Args:
        source: Markdown as JupyterLab understands it.
        options: For nbconvert's `IPythonRenderer`.

    Raises:
        FormulaError: A formula that cannot be converted.
    """
    # As in JupyterLab the formulas are taken out first: their | ends no column, their _ begins no emphasis.
    plain: list[str] = []
    converted: list[str] = []

    def take(found: re.Match[str]) -> str:
        parts = found.groupdict()
        display = next(filter(None, (parts[name] for name in ("environment", "bracket", "block"))), None)
        latex = display or parts["inline"] or parts["round"]
        if latex is None:
            return found[0]
        latex = _NUMBERED.sub(r"\\\1{\2*}", latex)
        plain.append(latex)
        converted.append(formula(latex, display=display is not None))
        return _MARK.format(len(plain) - 1)

    marked = _FORMULA.sub(take, source)
    renderer = _Renderer(plain, converted, **options)
    parser = MarkdownWithMath(renderer, block=BlockParser(), inline=InlineParser(hard_wrap=False))
    return _put(converted, parser.render(marked))


def _put(instead: list[str], text: str) -> str:
    return _MARKS.sub(lambda found: instead[int(found[1])], text)


class _Renderer(IPythonRenderer):
    def __init__(self, plain: list[str], converted: list[str], **options: Any):
        super().__init__(**options)
        self.plain, self.converted = plain, converted

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        # Its text also becomes the name that links point to.
        return super().heading(_put(self.converted, text), level, **attrs)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return super().image(_put(self.plain, text), url, title)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, _OTHER_NOTEBOOK.sub(r"\1.html", url), title)


def store(data: dict[str, Any]) -> None:
    """Make an output ready to be stored, in place: of HTML beside a picture only a live widget is kept.

    Args:
        data: MIME type to content. The same widget becomes the same text in each run.
    """
    if "image/png" not in data or "text/html" not in data:
        return
    live = data.pop("text/html")
    element = re.search(r'<div id="([^"]+)">', live)
    if element and '<script type="module">' in live:
        kept = live.replace(data["image/png"].strip(), _PICTURE)
        data[LIVE] = kept.replace(element[1], element[1].split("-")[0])


def _revive(data: dict[str, Any], name: str) -> None:
    """Undo `store`; the name tells this widget from the others of its page."""
    live = data.pop(LIVE, None)
    if live is not None:
        live = re.sub(r'(<div id="|getElementById\(")(\w+)"', rf'\1\2-{name}"', live)
        data["text/html"] = live.replace(_PICTURE, data.get("image/png", "").strip())


def _title(notebook: NotebookNode) -> str | None:
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = re.search(r"^# +(.+)$", "\n".join(texts), re.MULTILINE)
    return re.sub(r"[*`$]", "", found[1]).strip() if found else None


class OfflineHTML(HTMLExporter):
    """One file of HTML that loads nothing from elsewhere, with its formulas as MathML.

    Widgets that compute in the page go on in it; of the others their picture remains. Links to other
    notebooks point to their pages in the same folder.
    """

    export_from_notebook = "HTML that works offline"
    embed_images = Bool(True, help="Whether pictures of Markdown cells are put into the page.").tag(
        config=True
    )

    @default("template_name")
    def _template_name_default(self) -> str:
        return "lecture"

    @default("extra_template_basedirs")
    def _our_templates(self) -> list[str]:
        return [str(HERE / "templates")]

    @property
    def default_config(self) -> Config:
        """What is shown of an output: nothing that would need the scripts of ipywidgets."""
        config = super().default_config
        shown = ["text/html", "text/markdown", "image/svg+xml", "text/latex"]
        config.NbConvertBase.display_data_priority = [*shown, "image/png", "image/jpeg", "text/plain"]
        return config

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        """Markdown to HTML; an error names the notebook and the cell."""
        cell = context.get("cell", {})
        about = context.get("resources", {}).get("metadata", {})
        try:
            return markdown(
                source,
                escape=False,
                attachments=cell.get("attachments", {}),
                embed_images=self.embed_images,
                path=about.get("path", ""),
                anchor_link_text=self.anchor_link_text,
                exclude_anchor_links=self.exclude_anchor_links,
            )
        except FormulaError as error:
            cells = context.get("nb", {}).get("cells", [])
            number = next((n for n, other in enumerate(cells, start=1) if other is cell), "?")
            raise FormulaError(f"{about.get('name', 'notebook')}, cell {number}: {error}") from error

    def _init_resources(self, resources: Any) -> Any:
        resources = super()._init_resources(resources)
        font = base64.b64encode((HERE / "static" / "math.woff2").read_bytes()).decode()
        resources["math_font"] = f"data:font/woff2;base64,{font}"
        resources["page_css"] = (HERE / "static" / "page.css").read_text(encoding="utf-8")
        return resources

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """Convert a notebook.

        Raises:
            FormulaError: A formula that cannot be converted.
            ValueError: A picture or script that lies elsewhere.
        """
        nb = copy.deepcopy(nb)
        nb.metadata.pop("widgets", None)  # the state of widgets that nothing here could show
        title = _title(nb)
        if title and not nb.metadata.get("title"):
            nb.metadata["title"] = title
        for number, cell in enumerate(nb.cells):
            for place, output in enumerate(cell.get("outputs", [])):
                if "data" in output:
                    output.data.pop(_WIDGET, None)
                    _revive(output.data, f"{number}-{place}")
            if "outputs" in cell:
                cell.outputs = [output for output in cell.outputs if output.get("data", True)]
        page, resources = super().from_notebook_node(nb, resources, **kw)
        outside = _LOADS.search(page)
        if outside:
            name = _name(resources)
            raise ValueError(f"{name} shows {html.unescape(outside[1])!r}, which a page offline cannot load")
        return page, resources


def _name(resources: Mapping[str, Any]) -> str:
    return str(resources.get("metadata", {}).get("name") or "the notebook")
