"""A small Hugging Face Hub in memory, for the real `huggingface_hub` and `datasets` clients.

    with Hub() as hub:
        hub.add_user("ann", "hf_ann")
        environment = hub.environment(tmp_path, "hf_ann")  # of a subprocess with an empty cache
        api = HfApi(endpoint=hub.endpoint, token="hf_ann")  # or in this process

State, set directly and without permissions:
    add_user(name, token, role="write" | "read")             revoke(token)
    create(repo_id, repo_type="model", private=False)        changes nothing if it exists
    commit(repo_id, {path: bytes or None to delete}, message=, revision=, repo_type=) -> sha
    files(repo_id, revision="main", repo_type="model") -> {path: bytes}
    head(repo_id, revision="main", repo_type="model") -> sha
    repo(repo_id, repo_type="model")  # .private .gated .granted (user names) .refs .commits

Faults on demand and the log of requests are those of `FaultyServer`. Large files are put to and
got from "/cdn/<type>s/<repo_id>/object/<sha256>?filename=<path>" on a second port (side "cdn"):
    hub.fail("PUT /cdn/", "reset")    hub.fail("GET /cdn.*model.safetensors", "corrupt", times=2)
    hub.fail("POST .*/commit/", "lost")    with hub.down(): ...    hub.calls("POST .*/commit/")
"""

import base64
import hashlib
import json
import os
import re
from collections import namedtuple
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from faulty_server import INVALID_TOKEN, FaultyServer, RefusedError, Reply, Request, answer, ranged

LARGE = (
    "7z arrow bin bz2 ckpt gz h5 joblib lfs.* model msgpack npy npz onnx parquet pickle pkl pt pth "
    "safetensors tar tflite tgz wasm xz zip zst"
)
GITATTRIBUTES = "".join(f"*.{ext} filter=lfs diff=lfs merge=lfs -text\n" for ext in LARGE.split())
FIXED = {
    "GET /api/whoami-v2": "whoami",
    "POST /api/validate-yaml": "validate_yaml",
    "POST /api/repos/create": "create_repo",
}
KIND, ID = "(?:(model|dataset|space)s/)", "([^/]+(?:/[^/]+)?)"
OF_REPO = re.compile(
    rf"/(?:api|cdn)/{KIND}{ID}(?:/([a-z-]+)(?:/([^/]+)(?:/(.+))?)?)?"
    rf"|/{KIND}?{ID}(?:/(resolve)|\.git/info/lfs/objects/(batch|verify))(?:/([^/]+)/(.+))?"
)
NEEDS = {"get_resolve": "content", "post_paths_info": "read"}
NEEDS |= dict.fromkeys(("post_batch", "post_verify"), "propose")
NEEDS |= dict.fromkeys(("get_object", "put_object"), "address")
User = namedtuple("User", "name role")
Commit = namedtuple("Commit", "sha parent files title message author date")


@dataclass(frozen=True)
class Blob:
    data: bytes
    large: bool

    @cached_property
    def etag(self) -> str:
        """The sha256 of a large file, the git object id of another."""
        git = hashlib.sha1(b"blob %d\0" % len(self.data) + self.data)
        return hashlib.sha256(self.data).hexdigest() if self.large else git.hexdigest()

    def described(self, oid: str, lfs_oid: str) -> dict[str, Any]:
        size = len(self.data)
        lfs = {"lfs": {lfs_oid: self.etag, "size": size, "pointerSize": 134}}
        return {oid: self.etag[:40], "size": size} | (lfs if self.large else {})


@dataclass
class Repo:
    kind: str
    id: str
    private: bool = False
    gated: str | bool = False
    granted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self):
        self.web = ("" if self.kind == "model" else f"{self.kind}s/") + self.id
        initial = {".gitattributes": Blob(GITATTRIBUTES.encode(), False)}
        self.add("refs/heads/main", None, initial, "initial commit")

    def add(self, ref, parent, changes, title, message="", author="system") -> str:
        before = self.commits[parent].files if parent else {}
        files = {path: blob for path, blob in sorted({**before, **changes}.items()) if blob}
        seed = [self.web, parent, len(self.commits), title, *((p, files[p].etag) for p in files)]
        sha = self.refs[ref] = hashlib.sha1(repr(seed).encode()).hexdigest()
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.commits[sha] = Commit(sha, parent, files, title, message, author, date)
        return sha

    def ref(self, revision: str, groups=("", "refs/heads/", "refs/tags/")) -> str | None:
        return next((group + revision for group in groups if group + revision in self.refs), None)

    def at(self, revision: str | None) -> Commit:
        sha = self.refs.get(self.ref(revision or "main"), revision)
        found = [c for c in self.commits if re.match("[0-9a-f]{7}", sha) and c.startswith(sha)]
        if not found:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[found[0]]

    def is_large(self, path: str, size: int, sample: bytes, commit: Commit) -> bool:
        attributes = commit.files.get(".gitattributes", Blob(b"", False)).data.decode(
            errors="replace"
        )
        patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
        named = any(fnmatch(Path(path).name, p) or fnmatch(path, p) for p in patterns)
        return size > 0 and (named or size > 10 * 2**20 or b"\0" in sample)

    def entry(self, commit: Commit, path: str) -> dict[str, Any]:
        if path in commit.files:
            described = commit.files[path].described("oid", lfs_oid="oid")
            return {"type": "file", "path": path} | described
        oid = hashlib.sha1(f"{commit.sha} {path}".encode()).hexdigest()
        return {"type": "directory", "oid": oid, "size": 0, "path": path}


class Hub(FaultyServer):
    sides = ("api", "cdn")

    def __init__(self):
        super().__init__()
        self.users: dict[str, User] = {}
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
        switches = "DISABLE_XET DISABLE_TELEMETRY DISABLE_UPDATE_CHECK DISABLE_PROGRESS_BARS"
        named |= {f"HF_HUB_{switch}": "1" for switch in switches.split()}
        return kept | named | ({"HF_TOKEN": token} if token else {})

    def add_user(self, name: str, token: str, role: str = "write"):
        self.users[token] = User(name, role)

    def revoke(self, token: str):
        del self.users[token]

    def create(self, repo_id: str, repo_type: str = "model", private: bool = False) -> Repo:
        with self.lock:
            return self.repos.setdefault((repo_type, repo_id), Repo(repo_type, repo_id, private))

    def repo(self, repo_id: str, repo_type: str = "model") -> Repo:
        return self.repos[repo_type, repo_id]

    def head(self, repo_id: str, revision: str = "main", repo_type: str = "model") -> str:
        return self.repo(repo_id, repo_type).at(revision).sha

    def files(self, repo_id: str, revision="main", repo_type="model") -> dict[str, bytes]:
        files = self.repo(repo_id, repo_type).at(revision).files
        return {path: blob.data for path, blob in files.items()}

    def commit(self, repo_id, files, message="test", revision="main", repo_type="model") -> str:
        with self.lock:
            repo = self.create(repo_id, repo_type)
            now, changes = repo.at(revision), dict.fromkeys(files)
            for path, data in files.items():
                if data is not None:
                    large = repo.is_large(path, len(data), data[:512], now)
                    changes[path] = blob = Blob(data, large)
                    repo.large |= {blob.etag: data} if large else {}
            return repo.add(repo.ref(revision), now.sha, changes, message, author="test")

    def serve(self, request: Request) -> Reply:
        try:
            return self._dispatch(request)
        except RefusedError as refused:
            # Over https the client takes such a 401 for a missing repository by its address alone.
            status, _, headers = refused.reply
            strange = headers["X-Error-Message"] != INVALID_TOKEN
            if status == 401 and strange and re.search("/api/[mds]|/resolve/", request.target):
                headers.setdefault("X-Error-Code", "RepoNotFound")
            raise

    def _dispatch(self, request: Request) -> Reply:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and request.side == "cdn":
            raise RefusedError(400, "Only one auth mechanism allowed")
        if token and token not in self.users:
            raise RefusedError(401, INVALID_TOKEN)
        request.user = self.users.get(token)
        method = request.method.replace("HEAD", "GET")
        if name := FIXED.get(f"{method} {request.path}"):
            return getattr(self, name)(request)
        if found := OF_REPO.fullmatch(urlsplit(request.target).path):
            api, web = found.groups()[:5], found.groups()[5:]
            kind, repo_id, action, *rest = api if api[1] else (*web[:2], web[2] or web[3], *web[4:])
            name = f"{method}_{action or 'revision'}".lower().replace("-", "_")
            need = NEEDS.get(name, "read" if method == "GET" else "write")
            repo = self._allowed(kind or "model", unquote(repo_id), request, need)
            if serve := getattr(self, name, None):
                return serve(request, repo, *(part and unquote(part) for part in rest))
        raise RefusedError(404, "Not Found")

    def _allowed(self, kind: str, repo_id: str, request: Request, need: str) -> Repo:
        """The repository, if the user may "read" it, read its "content", "propose" or "write".

        Who has the "address" of a file, as the CDN's clients, needs no rights.
        """
        repo, user = self.repos.get((kind, repo_id)), request.user
        mine = user is not None and user.name == repo_id.partition("/")[0]
        if repo is None or (repo.private and not mine and need != "address"):
            raise RefusedError(404 if user else 401, "Repository not found", "RepoNotFound")
        granted = mine or (user and user.name in repo.granted)
        if need == "content" and repo.gated and not granted:
            message = f"Access to {kind} {repo_id} is restricted."
            raise RefusedError(403 if user else 401, message, "GatedRepo")
        if need in ("propose", "write") and user is None:
            raise RefusedError(401, "Invalid username or password.")
        if need in ("propose", "write") and user.role != "write":
            raise RefusedError(403, "Forbidden: this token may only read")
        if need == "write" and not mine and "create_pr" not in request.query:
            raise RefusedError(403, "Forbidden: pass `create_pr=1` to create a Pull Request")
        return repo

    def whoami(self, request):
        if request.user is None:
            raise RefusedError(401, "Invalid username or password.")
        name, role = request.user
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
        return answer({"type": "user", "name": name, "orgs": [], "auth": auth})

    def validate_yaml(self, request):
        """Judges the shape of the lines only: the standard library reads no YAML."""
        content = request.json()["content"]
        found = re.match(r"\s*---[\r\n]+(.*?)[\r\n]+---\s*(?:\n|$)", content, re.DOTALL)
        warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
        lines = found[1].splitlines() if found else []
        wrong = [line for line in lines if not re.match(r"$|#|[\w-]+:(\s|$)| +\S|- |[]}]", line)]
        errors = [{"message": f"bad line in the metadata: {line}"} for line in wrong]
        return answer({"errors": errors, "warnings": warnings}, 400 if errors else 200)

    def create_repo(self, request):
        body, user = request.json(), request.user
        kind, owner = body.get("type", "model"), body.get("organization")
        if user is None:
            raise RefusedError(401, "Invalid username or password.")
        if user.role != "write" or owner not in (None, user.name):
            message = f"You don't have the rights to create a {kind} under the namespace"
            raise RefusedError(403, f'{message} "{owner or user.name}"')
        repo_id = f"{user.name}/{body['name']}"
        exists = (kind, repo_id) in self.repos
        repo = self.create(repo_id, kind, body.get("visibility") == "private")
        created = {"url": f"{self.endpoint}/{repo.web}", "name": repo_id}
        error = {"error": f"You already created this {kind} repo"}
        return answer(created | error, 409) if exists else answer(created)

    def put_settings(self, request, repo, *_):
        body = request.json()
        repo.gated = body.get("gated", repo.gated)
        repo.private = body["visibility"] == "private" if "visibility" in body else repo.private
        return answer({})

    def get_revision(self, request, repo, revision, *_):
        commit, blobs = repo.at(revision), "blobs" in request.query
        siblings = [
            {"rfilename": path} | (blob.described("blobId", lfs_oid="sha256") if blobs else {})
            for path, blob in commit.files.items()
        ]
        named = {"id": repo.id, "author": repo.id.split("/")[0], "sha": commit.sha, "tags": []}
        state = {"private": repo.private, "gated": repo.gated, "lastModified": commit.date}
        return answer(named | state | {"siblings": siblings})

    def get_refs(self, request, repo, *_):
        names = {"heads": "branches", "tags": "tags", "convert": "converts", "pr": "pullRequests"}
        found: dict[str, list] = {name: [] for name in names.values()}
        for ref, sha in repo.refs.items():
            _, group, name = ref.split("/", 2)
            named = {"name": ref if group == "pr" else name, "ref": ref, "targetCommit": sha}
            found[names[group]].append(named)
        return answer(found)

    def post_tag(self, request, repo, revision, *_):
        return self._add_ref(repo, f"refs/tags/{request.json()['tag']}", revision)

    def post_branch(self, request, repo, name, *_):
        return self._add_ref(repo, f"refs/heads/{name}", request.json().get("startingPoint"))

    def _add_ref(self, repo, ref, revision):
        if ref in repo.refs:
            raise RefusedError(409, f"Reference already exists: {ref}")
        repo.refs[ref] = repo.at(revision).sha
        return answer({})

    def delete_tag(self, request, repo, name, *_, group="refs/tags/"):
        if name == "main" or repo.refs.pop(group + name, None) is None:
            raise RefusedError(404, f"Invalid rev id: {name}", "RevisionNotFound")
        return answer({})

    def delete_branch(self, request, repo, name, *_):
        return self.delete_tag(request, repo, name, group="refs/heads/")

    def get_commits(self, request, repo, revision, *_):
        found, commit = [], repo.at(revision)
        while commit:
            named = {"id": commit.sha, "title": commit.title, "message": commit.message}
            found.append(named | {"date": commit.date, "authors": [{"user": commit.author}]})
            commit = repo.commits.get(commit.parent)
        return answer(found)

    def get_tree(self, request, repo, revision, folder):
        commit, prefix = repo.at(revision), f"{folder}/" if folder else ""
        paths = {path for path in commit.files if path.startswith(prefix)}
        if folder and not paths:
            message = f'{folder} does not exist on "{revision}"'
            raise RefusedError(404, message, "EntryNotFound", X_Repo_Commit=commit.sha)
        paths |= {str(parent) for path in paths for parent in Path(path).parents} - {"."}
        deep = request.query.get("recursive", "").lower() == "true"
        inside = [p for p in sorted(paths) if p.startswith(prefix) and p != folder]
        shown = [p for p in inside if deep or "/" not in p.removeprefix(prefix)]
        return answer([repo.entry(commit, path) for path in shown])

    def post_paths_info(self, request, repo, revision, *_):
        commit, wanted = repo.at(revision), parse_qs(request.body.decode()).get("paths", [])
        known = [p for p in wanted if any(f"{f}/".startswith(f"{p}/") for f in commit.files)]
        return answer([repo.entry(commit, path) for path in known])

    def post_preupload(self, request, repo, revision, *_):
        commit, files = repo.at(revision), []
        for path, size, sample in (
            (f["path"], f["size"], f["sample"]) for f in request.json()["files"]
        ):
            large = repo.is_large(path, size, base64.b64decode(sample), commit)
            known = {"oid": commit.files[path].etag} if path in commit.files else {}
            mode = {"uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            files.append({"path": path} | mode | known)
        return answer({"files": files})

    def post_batch(self, request, repo, *_):
        objects = request.json()["objects"]
        for wanted in objects:
            upload = self._object(repo, wanted["oid"])
            verify = f"{self.endpoint}/{repo.web}.git/info/lfs/objects/verify"
            if wanted["oid"] not in repo.large:
                wanted["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
        return answer({"transfer": "basic", "objects": objects})

    def _object(self, repo: Repo, oid: str) -> str:
        return f"{self.address('cdn')}/cdn/{repo.kind}s/{repo.id}/object/{oid}"

    def post_verify(self, request, repo, *_):
        if len(repo.large.get(request.json()["oid"], b"")) != request.json()["size"]:
            raise RefusedError(404, "Object not found or of another size")
        return answer({})

    def put_object(self, request, repo, oid, *_):
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise RefusedError(400, "BadDigest")
        repo.large[oid] = request.body
        return answer({})

    def get_object(self, request, repo, oid, *_):
        return ranged(request, repo.large[oid], {"ETag": f'"{oid[:32]}"'})

    def get_resolve(self, request, repo, revision, path):
        commit = repo.at(revision)
        if (blob := commit.files.get(path)) is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
        named = {"X-Repo-Commit": commit.sha, "ETag": f'"{blob.etag}"'}
        if not blob.large:
            return ranged(request, blob.data, named)
        linked = {"X-Linked-Size": str(len(blob.data)), "X-Linked-ETag": f'"{blob.etag}"'}
        url = f"{self._object(repo, blob.etag)}?filename={quote(path)}"
        return Reply(302, b"Found", named | linked | {"Location": url})

    def post_commit(self, request, repo, revision, *_):
        (_, head), *lines = (json.loads(line).values() for line in request.body.splitlines())
        now, ref, parent = repo.at(revision), repo.ref(revision), head.get("parentCommit")
        create_pr = "create_pr" in request.query
        if create_pr:
            now = repo.at(parent or revision)
            ref = f"refs/pr/{sum(name.startswith('refs/pr/') for name in repo.refs) + 1}"
        elif ref is None or ref.startswith("refs/tags/"):
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        elif parent and not now.sha.startswith(parent):
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        changes: dict[str, Blob | None] = {}
        for key, value in lines:
            path = value["path"]
            if {"..", ".git"} & set(path.split("/")):
                raise RefusedError(400, f"Invalid path: {path}")
            if key == "file":
                changes[path] = Blob(base64.b64decode(value["content"]), False)
            elif key == "lfsFile" and value["oid"] in repo.large:
                changes[path] = Blob(repo.large[value["oid"]], True)
            elif key == "lfsFile":
                raise RefusedError(400, f"LFS pointer pointed to a missing file: {path}")
            else:
                gone = [f for f in now.files if f"{f}/".startswith(path.rstrip("/") + "/")]
                if not gone:
                    raise RefusedError(404, f"{path} does not exist", "EntryNotFound")
                changes |= dict.fromkeys(gone)
        title, description = head["summary"], head.get("description", "")
        sha = repo.add(ref, now.sha, changes, title, description, request.user.name)
        url = f"{self.endpoint}/{repo.web}"
        pull = {"pullRequestUrl": f"{url}/discussions/{ref.split('/')[-1]}"} if create_pr else {}
        return answer({"commitOid": sha, "commitUrl": f"{url}/commit/{sha}"} | pull)
