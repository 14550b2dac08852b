"""HTML pages that open without a server and load nothing from elsewhere: one shell, and the part of each report."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path

SHELL, HELPERS = (Path(__file__).with_name(name) for name in ("page.html", "page.js"))
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def html_page(title: str, content: str, data: object = None) -> str:
    """A whole page.

    The browser runs the scripts that are written here and no others, whatever a file name brings along: the page's
    policy has their hashes (https://www.w3.org/TR/CSP3/).

    Args:
        title: plain text.
        content: markup, as it stands.
        data: plain types for JSON, for scripts in the content: they find it as `report`, and the helpers of page.js.

    Raises:
        ValueError: the data has NaN or infinity.
    """
    if data is not None:
        before, after = HELPERS.read_text("utf-8").split("/*DATA*/null")
        text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")  # nothing in the data can end the script
        content = f"<script>\n{before}{text}{after}</script>\n{content}"
    digests = [hashlib.sha256(script.encode()).digest() for script in _SCRIPT.findall(content)]
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"
    policy = f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src {scripts}"
    head, rest = SHELL.read_text("utf-8").split("<!--POLICY-->")
    between, rest = rest.split("<!--TITLE-->")
    start, end = rest.split("<!--CONTENT-->")
    return "".join([head, policy, between, html.escape(title), start, content, end])


def data_uri(image: bytes, kind: str) -> str:
    """An image as part of a page; `kind` such as ``image/png``."""
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"
