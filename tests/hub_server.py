"""A small Hugging Face Hub in memory, for the real `huggingface_hub` and `datasets` clients.

    with Hub() as hub:
        hub.add_user("ann", "hf_ann")
        api = HfApi(endpoint=hub.endpoint, token="hf_ann")
        environment = hub.environment(tmp_path, "hf_ann")  # or in a subprocess

Its methods up to `commit` set and show the state, without permissions. Faults and the log of
requests are those of `FaultyServer`. Large files have a port of their own (side "cdn"), as in
    hub.fail("GET /cdn/.*model.safetensors", "corrupt", times=2)
"""

import base64
import hashlib
import json
import os
import re
from collections import namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from faulty_server import INVALID_TOKEN, FaultyServer, RefusedError, Reply, Request, answer, ranged

LARGE = re.compile(r".*\.(arrow|bin|gz|h5|npy|npz|onnx|parquet|pickle|pkl|pt|pth|safetensors|zip)")
REPO = "(?:(model|dataset|space)s/)?([^/]+/[^/]+)"
ROUTES = {  # the method that serves it, and the right to the repository that it needs
    f"GET /api/{REPO}(?:/revision/([^/]+))?": ("get_info", "read"),
    f"GET /api/{REPO}/tree/([^/]+)(?:/(.+))?": ("get_tree", "read"),
    f"GET /{REPO}/resolve/([^/]+)/(.+)": ("get_file", "content"),
    f"GET /cdn/{REPO}/(.+)": ("get_object", None),
    f"PUT /cdn/{REPO}/(.+)": ("put_object", None),
    f"POST /{REPO}.git/info/lfs/objects/batch": ("lfs_batch", "read"),
    f"POST /{REPO}.git/info/lfs/objects/verify": ("lfs_verify", "read"),
    f"POST /api/{REPO}/preupload/([^/]+)": ("preupload", "write"),
    f"POST /api/{REPO}/commit/([^/]+)": ("add_commit", "write"),
    f"POST /api/{REPO}/(tag|branch)/([^/]+)": ("add_ref", "write"),
    f"GET /api/{REPO}/refs": ("get_refs", "read"),
}
User = namedtuple("User", "name role")
Commit = namedtuple("Commit", "sha files")


def is_large(path: str, size: int, sample: bytes) -> bool:
    return size > 0 and bool(LARGE.fullmatch(path) or size > 10 * 2**20 or b"\0" in sample)


def checksum(path: str, data: bytes) -> str:
    """The sha256 of a large file, the git object id of another."""
    if is_large(path, len(data), data[:512]):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def described(path: str, data: bytes, oid: str, lfs_oid: str) -> dict[str, Any]:
    digest, size = checksum(path, data), len(data)
    lfs = {"lfs": {lfs_oid: digest, "size": size, "pointerSize": 134}}
    return {oid: digest[:40], "size": size} | (lfs if len(digest) == 64 else {})


@dataclass
class Repo:
    kind: str
    id: str
    private: bool = False
    gated: str | bool = False
    sdk: str | None = None  # of a Space
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # by their checksums

    def __post_init__(self):
        self.web = ("" if self.kind == "model" else f"{self.kind}s/") + self.id
        self.store = f"/cdn/{self.kind}s/{self.id}"
        initial = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
        self.add("refs/heads/main", Commit(None, {}), initial)

    def add(self, ref: str, parent: Commit, changes: dict[str, bytes | None]) -> str:
        files = {**parent.files, **changes}
        files = {path: files[path] for path in sorted(files) if files[path] is not None}
        checksums = {path: checksum(path, data) for path, data in files.items()}
        seed = repr([self.web, parent.sha, len(self.commits), checksums])
        sha = self.refs[ref] = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[sha] = Commit(sha, files)
        self.objects |= {checksums[path]: data for path, data in files.items()}
        return sha

    def ref(self, revision: str) -> str | None:
        named = [group + revision for group in ("", "refs/heads/", "refs/tags/")]
        return next((ref for ref in named if ref in self.refs), None)

    def at(self, revision: str | None) -> Commit:
        sha = self.refs.get(self.ref(revision or "main"), revision)
        if sha not in self.commits:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]


class Hub(FaultyServer):
    sides = ("api", "cdn")

    def __init__(self):
        super().__init__()
        self.users: dict[str, User] = {}  # by their tokens
        self.repos: dict[tuple[str, str], Repo] = {}

    @property
    def endpoint(self) -> str:
        return self.address("api")

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The variables of a process that knows this Hub only; its caches are below `home`."""
        foreign = re.compile("HF_|HUGGING|TRANSFORMERS_|.*_proxy$|COLAB_", re.IGNORECASE)
        kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
        named = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "NO_PROXY": "*"}
        named["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # `datasets` counts at s3.amazonaws.com
        for switch in ("XET", "TELEMETRY", "UPDATE_CHECK", "PROGRESS_BARS"):
            named[f"HF_HUB_DISABLE_{switch}"] = "1"
        return kept | named | ({"HF_TOKEN": token} if token else {})

    def add_user(self, name: str, token: str, role: str = "write"):
        self.users[token] = User(name, role)

    def create(self, repo_id: str, repo_type: str = "model", private: bool = False) -> Repo:
        with self.lock:
            return self.repos.setdefault((repo_type, repo_id), Repo(repo_type, repo_id, private))

    def repo(self, repo_id: str, repo_type: str = "model") -> Repo:
        return self.repos[repo_type, repo_id]

    def head(self, repo_id: str, revision: str = "main", repo_type: str = "model") -> str:
        return self.repo(repo_id, repo_type).at(revision).sha

    def files(self, repo_id: str, revision="main", repo_type="model") -> dict[str, bytes]:
        return dict(self.repo(repo_id, repo_type).at(revision).files)

    def commit(self, repo_id, files, revision="main", repo_type="model") -> str:
        """Adds and replaces files, and deletes those that are None."""
        with self.lock:
            repo = self.create(repo_id, repo_type)
            return repo.add(repo.ref(revision), repo.at(revision), files)

    def serve(self, request: Request) -> Reply:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.users:
            raise RefusedError(401, INVALID_TOKEN)
        request.user = self.users.get(token)
        line = f"{request.method.replace('HEAD', 'GET')} {urlsplit(request.target).path}"
        if line == "POST /api/validate-yaml":
            return answer({"errors": [], "warnings": []})  # every card is fine
        if line == "POST /api/repos/create":
            return self.create_repo(request)
        for route, (name, need) in ROUTES.items():
            if found := re.fullmatch(route, line):
                kind, repo_id, *rest = (part and unquote(part) for part in found.groups())
                repo = self._allowed(kind or "model", repo_id, request, need)
                return getattr(self, name)(request, repo, *rest)
        raise RefusedError(404, "Not Found")

    def _allowed(self, kind: str, repo_id: str, request: Request, need: str | None) -> Repo:
        repo, user = self.repos.get((kind, repo_id)), request.user
        mine = user is not None and repo_id.startswith(f"{user.name}/")
        if repo is None or (need and repo.private and not mine):
            raise RefusedError(404 if user else 401, "Repository not found", "RepoNotFound")
        if need == "content" and repo.gated and not mine:
            message = f"Access to {kind} {repo_id} is restricted."
            raise RefusedError(403 if user else 401, message, "GatedRepo")
        may_write = user and user.role == "write" and (mine or "create_pr" in request.query)
        if need == "write" and not may_write:
            # Over https the client takes every 401 for a missing repository, here by the code.
            status, code = (403, None) if user else (401, "RepoNotFound")
            raise RefusedError(status, "You may not write here, except a Pull Request", code)
        return repo

    def create_repo(self, request):
        body, user = request.json(), request.user
        if not user or user.role != "write" or body.get("organization") not in (None, user.name):
            raise RefusedError(403 if user else 401, "You may not create a repository there")
        kind, repo_id = body.get("type", "model"), f"{user.name}/{body['name']}"
        if kind == "space" and not body.get("sdk"):
            raise RefusedError(400, "A Space needs an sdk")
        exists = (kind, repo_id) in self.repos
        repo = self.create(repo_id, kind, body.get("visibility") == "private")
        repo.sdk = repo.sdk or body.get("sdk")
        return answer({"url": f"{self.endpoint}/{repo.web}"}, 409 if exists else 200)

    def get_info(self, request, repo, revision):
        commit, siblings = repo.at(revision), []
        for path, data in commit.files.items():
            blob = described(path, data, "blobId", "sha256") if "blobs" in request.query else {}
            siblings.append({"rfilename": path} | blob)
        state = {"private": repo.private, "gated": repo.gated, "tags": []}
        return answer({"id": repo.id, "sha": commit.sha, "siblings": siblings} | state)

    def get_tree(self, request, repo, revision, folder):
        commit, prefix, entries = repo.at(revision), f"{folder}/" if folder else "", []
        files = {path: data for path, data in commit.files.items() if path.startswith(prefix)}
        if not files:
            raise RefusedError(404, f"{folder} does not exist", "EntryNotFound")
        folders = {str(parent) for path in files for parent in Path(path).parents} - {"."}
        for path in sorted(path for path in {*files, *folders} if path.startswith(prefix)):
            if request.query.get("recursive") == "true" or "/" not in path.removeprefix(prefix):
                entry = {"type": "directory", "oid": commit.sha, "size": 0}
                if path in files:
                    entry = {"type": "file"} | described(path, files[path], "oid", "oid")
                entries.append(entry | {"path": path})
        return answer(entries)

    def add_ref(self, request, repo, kind, name):
        body = request.json()
        ref, start = f"refs/heads/{name}", body.get("startingPoint")
        if kind == "tag":
            ref, start = f"refs/tags/{body['tag']}", name
        if ref in repo.refs:
            raise RefusedError(409, f"Reference already exists: {ref}")
        repo.refs[ref] = repo.at(start).sha
        return answer({})

    def get_refs(self, request, repo):
        refs: dict[str, list] = {"branches": [], "tags": [], "converts": []}
        for ref, sha in repo.refs.items():
            group = {"heads": "branches", "tags": "tags"}.get(ref.split("/")[1])
            if group:
                name = ref.split("/", 2)[2]
                refs[group].append({"name": name, "ref": ref, "targetCommit": sha})
        return answer(refs)

    def preupload(self, request, repo, revision):
        there, files = repo.at(revision).files, []
        for file in request.json()["files"]:
            path, sample = file["path"], base64.b64decode(file["sample"])
            mode = "lfs" if is_large(path, file["size"], sample) else "regular"
            known = {"oid": checksum(path, there[path])} if path in there else {}
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False} | known)
        return answer({"files": files})

    def lfs_batch(self, request, repo):
        objects = request.json()["objects"]
        verify = {"href": f"{self.endpoint}/{repo.web}.git/info/lfs/objects/verify"}
        for wanted in objects:
            if wanted["oid"] not in repo.objects:
                upload = {"href": f"{self.address('cdn')}{repo.store}/{wanted['oid']}"}
                wanted["actions"] = {"upload": upload, "verify": verify}
        return answer({"transfer": "basic", "objects": objects})

    def lfs_verify(self, request, repo):
        if len(repo.objects.get(request.json()["oid"], b"")) != request.json()["size"]:
            raise RefusedError(404, "Object not found or of another size")
        return answer({})

    def put_object(self, request, repo, oid):
        repo.objects[hashlib.sha256(request.body).hexdigest()] = request.body
        return answer({})

    def get_object(self, request, repo, oid):
        return ranged(request, repo.objects[oid], {"ETag": f'"{oid[:32]}"'})

    def get_file(self, request, repo, revision, path):
        commit = repo.at(revision)
        if (data := commit.files.get(path)) is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
        oid = checksum(path, data)
        named = {"X-Repo-Commit": commit.sha, "ETag": f'"{oid}"'}
        if not is_large(path, len(data), data[:512]):
            return ranged(request, data, named)
        linked = {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{oid}"'}
        url = f"{self.address('cdn')}{repo.store}/{oid}?filename={quote(path)}"
        return Reply(302, b"Found", named | linked | {"Location": url})

    def add_commit(self, request, repo, revision):
        (_, head), *lines = (json.loads(line).values() for line in request.body.splitlines())
        now, ref, parent = repo.at(revision), repo.ref(revision), head.get("parentCommit")
        if create_pr := "create_pr" in request.query:
            now = repo.at(parent or revision)
            ref = f"refs/pr/{sum(name.startswith('refs/pr/') for name in repo.refs) + 1}"
        elif parent not in (None, now.sha):
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        changes: dict[str, bytes | None] = {}
        for key, value in lines:
            path = value["path"]
            if key == "file":
                changes[path] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                changes[path] = repo.objects[value["oid"]]
            else:  # deletedFile or deletedFolder
                folder = path.rstrip("/") + "/"
                changes |= {name: None for name in now.files if f"{name}/".startswith(folder)}
        sha, url = repo.add(ref, now, changes), f"{self.endpoint}/{repo.web}"
        pull = {"pullRequestUrl": f"{url}/discussions/{ref.split('/')[-1]}"} if create_pr else {}
        return answer({"commitOid": sha, "commitUrl": f"{url}/commit/{sha}"} | pull)
