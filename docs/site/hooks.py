"""What the site adds to the pages in docs/: files from elsewhere, the notebook as a page, formulas in MathML.

MkDocs calls the functions called on_...; nothing here runs a notebook or needs a network.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path
from urllib.parse import unquote

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"benchmarks/README.md": "benchmarks.md", "CHANGELOG.md": "changelog.md", "LICENSE": "license.md"}
CODE = re.compile(r"(^```.*?^```$|^    [^\n]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.DOTALL)
LINK = re.compile(r'\b(?:href|src)="([^":#?]+)[#?"]')


def on_files(files, config):
    """Add the pages that are made of other files."""
    made = {page: (ROOT / path).read_text(encoding="utf-8") for path, page in ELSEWHERE.items()}
    made["license.md"] = f"# License\n\n{made['license.md']}"
    for path in sorted((ROOT / "docs").glob("*.ipynb")):
        made[f"{path.stem}.md"] = notebook(path)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, **_):
    """Lead links to files elsewhere to their pages, and theirs to the pages here, and set formulas in MathML."""
    here = posixpath.dirname(page.file.src_uri)
    if page.file.src_uri in ELSEWHERE.values():
        markdown = re.sub(r"\]\((?:\.\./)?docs/", "](", markdown)
    for path, made in ELSEWHERE.items():
        there = posixpath.relpath(path, posixpath.join("docs", here))
        markdown = markdown.replace(f"]({there})", f"]({posixpath.relpath(made, here or '.')})")
    markdown = re.sub(r"(\]\([^):]+)\.ipynb([#)])", r"\1.md\2", markdown)
    parts = CODE.split(markdown)  # code, which may hold dollars, at the odd places
    parts[::2] = [FORMULA.sub(mathml, part) for part in parts[::2]]
    return "".join(parts)


def mathml(formula: re.Match) -> str:
    """Return a formula, $$a block$$ or $in a line$, as MathML."""
    block, inline = formula.groups()
    if block:
        return convert(block, display="block")
    return f"<span>{convert(inline)}</span>"  # a bare math element at the start of a line would begin a block of HTML


def notebook(path: Path) -> str:
    """Return a notebook as Markdown: its text, its code, and under it what that had printed and drawn."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts += [f"```python\n{source}\n```", *map(shown, cell["outputs"])]
    return "\n\n".join(parts)


def shown(output: dict) -> str:
    """Return one output of a cell as Markdown."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/svg+xml" in data:
        image = "".join(data["image/svg+xml"])
        says = re.search(r"<dc:title>(.*?)</dc:title>", image)[1]  # the first is the figure's
        return f'<p><img alt="{says}" src="data:image/svg+xml;base64,{base64.b64encode(image.encode()).decode()}"></p>'
    return f"```text\n{''.join(data['text/plain']).rstrip()}\n```"


def on_post_build(config):
    """Refuse a site with a page that leads to no file, be it a style sheet: MkDocs looks at links in the text alone."""
    site = Path(config["site_dir"])
    dead = [
        f"{page.relative_to(site)}: {link}"
        for page in sorted(site.rglob("*.html"))
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if not (site if link.startswith("/") else page.parent).joinpath(unquote(link).lstrip("/")).exists()
    ]
    if dead:
        raise PluginError("pages lead to files that the site does not have:\n" + "\n".join(dead))
