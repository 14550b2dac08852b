"""A Hugging Face hub on this machine, as far as its client needs one: repositories, commits, large files, tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub.constants

from tests.file_server import FileServer, Handler

if TYPE_CHECKING:
    import pytest

TOKEN = "hf_secretsecret"
COMMIT = "c" * 40


def point_at(server: FileServer, patch: pytest.MonkeyPatch, home: Path, token: str | None = None) -> None:
    """What HF_ENDPOINT, HF_HOME and HF_TOKEN do, in a process that may have imported huggingface_hub."""
    constants = huggingface_hub.constants
    patch.setattr(constants, "ENDPOINT", server.address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.delenv("HF_TOKEN", raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)


class FakeHub(FileServer):
    """Attributes: whether repositories are private, by name; their files; what was uploaded, by sha256."""

    def __init__(self):
        super().__init__(HubHandler)
        self.private: dict[str, bool] = {}
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}

    def publish(self, name, **files):
        self.repositories[name] = {file.replace("__", "."): content for file, content in files.items()}


class HubHandler(Handler):
    def answer(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def body(self):
        self.close_connection = True
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(length)
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def may(self, name):
        """Hidden from those who have no token, as the real one does."""
        owner = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        return name in self.server.repositories and (owner or not self.server.private.get(name, False))

    def do_GET(self):
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/([\w-]+/[\w-]+)/resolve/(\w+)/(.+)", path):
            content = self.server.repositories.get(found[1], {}).get(found[3]) if self.may(found[1]) else None
            if content is not None:
                self.server.files[path] = content
                self.server.etags[path] = f'"{hashlib.sha256(content).hexdigest()}"'
            self.extra = {"X-Repo-Commit": COMMIT}
            return super().do_GET()
        self.server.asked.append((self.path, None, self.headers.get("Authorization")))
        self.close_connection = True
        if found := re.fullmatch(r"/api/models/([\w-]+/[\w-]+)(?:/(?:revision|tree)/\w+)?", path):
            if not self.may(found[1]):
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            files = self.server.repositories[found[1]]
            if "/tree/" in path:
                return self.answer(
                    [{"type": "file", "path": name, "size": len(b), "oid": "0" * 40} for name, b in files.items()]
                )
            siblings = [{"rfilename": name} for name in files]
            return self.answer({"id": found[1], "sha": COMMIT, "siblings": siblings, "private": False})
        return self.answer({}, 404)

    def do_POST(self):
        content = self.body()
        self.server.asked.append((self.path, None, self.headers.get("Authorization")))
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "who are you?"}, 401)
        if self.path == "/api/repos/create":
            wanted = json.loads(content)
            name = f"{wanted['organization']}/{wanted['name']}"
            if name not in self.server.repositories:
                self.server.private[name] = wanted.get("private", wanted.get("visibility") == "private")
                self.server.repositories[name] = {}
            return self.answer({"url": f"{self.server.address}/{name}", "name": name})
        return self.change(content)

    def change(self, content):
        if re.search(r"/preupload/main$", self.path):
            files = [
                {"path": file["path"], "uploadMode": "regular" if file["path"].endswith(".md") else "lfs",
                 "shouldIgnore": False}
                for file in json.loads(content)["files"]
            ]  # fmt: skip
            return self.answer({"files": files})
        if self.path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{self.server.address}/lfs/{wanted['oid']}"}}}
                for wanted in json.loads(content)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        name = re.fullmatch(r"/api/models/([\w-]+/[\w-]+)/commit/main", self.path)[1]
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.server.repositories[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.repositories[name][value["path"]] = self.server.blobs[value["oid"]]
        return self.answer({"commitUrl": f"{self.server.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

    def do_PUT(self):
        content = self.body()
        digest = hashlib.sha256(content).hexdigest()
        self.server.blobs[digest] = content
        return self.answer({}, 200 if self.path == f"/lfs/{digest}" else 400)
