"""The test Hub answers the real clients as the Hub does."""

import hashlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from hub_server import Hub
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub import errors as hub_errors
from xet_store import XetHub

WEIGHTS = bytes(range(256)) * 40
FILES = {"model.safetensors": WEIGHTS, "config.json": b'{"hidden_size": 4}', "a/b/c.txt": b"deep"}


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with Hub() as hub:
        hub.add_user("ann", "hf_ann")
        hub.add_user("bob", "hf_bob")
        hub.add_user("ann", "hf_ann_reads", role="read")
        yield hub


@pytest.fixture
def log_in(hub):
    return lambda token: HfApi(endpoint=hub.endpoint, token=token)


@pytest.fixture
def ann(log_in):
    return log_in("hf_ann")


@pytest.fixture
def folder(tmp_path):
    for path, data in FILES.items():
        file = tmp_path / "folder" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "folder"


@pytest.fixture
def fetch(hub, tmp_path):
    """Downloads one file of ann/m into an empty cache and returns its content."""

    def download(filename="model.safetensors", token="hf_ann", **options) -> bytes:
        cache = tmp_path / f"cache{len(hub.requests)}"
        options = {"endpoint": hub.endpoint, "token": token, "cache_dir": cache} | options
        with open(hf_hub_download("ann/m", filename, **options), "rb") as file:
            return file.read()

    return download


def run_script(script, environment, *arguments) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_comes_back_as_it_was_pushed(hub, ann, folder, tmp_path, fetch):
    url = ann.create_repo("ann/m")
    assert (url.repo_id, url.endpoint) == ("ann/m", hub.endpoint)
    pushed = ann.upload_folder(repo_id="ann/m", folder_path=folder)
    assert pushed.oid == hub.head("ann/m") == ann.model_info("ann/m").sha
    assert hub.files("ann/m").items() >= FILES.items()
    local = snapshot_download("ann/m", endpoint=hub.endpoint, cache_dir=tmp_path / "cache")
    assert all((tmp_path / local / path).read_bytes() == data for path, data in FILES.items())
    assert fetch("a/b/c.txt") == b"deep"

    again = ann.upload_folder(repo_id="ann/m", folder_path=folder)
    assert again.oid == pushed.oid
    assert len(hub.calls("PUT /cdn/")) == len(hub.calls("POST .*/commit/")) == 1
    ann.delete_folder("a", "ann/m")
    assert set(hub.files("ann/m")) == {".gitattributes", "model.safetensors", "config.json"}


def test_large_files_are_redirected_to_another_origin_without_the_token(hub, ann, fetch):
    hub.commit("ann/m", FILES)
    assert fetch() == WEIGHTS
    api, cdn = hub.calls("model.safetensors")
    assert (api.method, api.status, api.headers["authorization"]) == ("HEAD", 302, "Bearer hf_ann")
    assert (cdn.method, cdn.side, cdn.headers.get("authorization")) == ("GET", "cdn", None)
    assert fetch("config.json") == FILES["config.json"]
    assert [call.side for call in hub.calls("config.json")] == ["api", "api"]


def test_info_and_tree_give_sizes_and_sha256(hub, ann):
    hub.commit("ann/m", FILES)
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    siblings = {s.rfilename: s for s in ann.model_info("ann/m", files_metadata=True).siblings}
    assert siblings["model.safetensors"].lfs.sha256 == sha256
    assert siblings["config.json"].lfs is None
    assert siblings["config.json"].size == len(FILES["config.json"])
    tree = {entry.path: entry for entry in ann.list_repo_tree("ann/m", recursive=True)}
    assert set(tree) == {*FILES, ".gitattributes", "a", "a/b"}
    assert tree["model.safetensors"].lfs.sha256 == sha256
    assert [entry.path for entry in ann.list_repo_tree("ann/m", "a")] == ["a/b"]


def test_revisions_are_branches_tags_pull_requests_and_commits(hub, ann, fetch):
    old = hub.commit("ann/m", {"x": b"1"})
    ann.create_tag("ann/m", tag="v1")
    ann.create_branch("ann/m", branch="dev/a", revision=old)
    new = hub.commit("ann/m", {"x": b"2"})
    file = {"repo_id": "ann/m", "path_in_repo": "x"}
    pull = ann.upload_file(path_or_fileobj=b"3", create_pr=True, parent_commit=old, **file)
    on_branch = ann.upload_file(path_or_fileobj=b"4", revision="dev/a", **file)

    assert pull.pr_revision == "refs/pr/1"
    contents = {"main": b"2", "v1": b"1", "dev/a": b"4", "refs/pr/1": b"3", old: b"1", new: b"2"}
    assert {revision: fetch("x", revision=revision) for revision in contents} == contents
    assert hub.head("ann/m", "dev/a") == on_branch.oid
    assert ann.model_info("ann/m", revision="refs/pr/1").sha == pull.oid
    ann.create_tag("ann/m", tag="v1", exist_ok=True)
    with pytest.raises(hub_errors.HfHubHTTPError, match="409"):
        ann.create_tag("ann/m", tag="v1")


def test_of_concurrent_commits_on_one_parent_exactly_one_wins(hub, ann):
    parent = hub.commit("ann/m", {"x": b"1"})

    def push(number: int) -> int:
        try:
            add = [CommitOperationAdd("x", b"push %d" % number)]
            ann.create_commit("ann/m", add, commit_message="race", parent_commit=parent)
        except hub_errors.HfHubHTTPError as error:
            assert "A commit has happened since" in str(error)
            return error.response.status_code
        return 200

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(push, range(4))) == [200, 412, 412, 412]


def test_an_existing_repository_is_a_conflict_unless_that_is_fine(hub, ann, log_in):
    ann.create_repo("ann/m", private=True)
    assert hub.repo("ann/m").private
    assert ann.create_repo("m", exist_ok=True).repo_id == "ann/m"
    for token, error in (("hf_ann", "409"), ("hf_bob", "403"), (False, "401")):
        with pytest.raises(hub_errors.HfHubHTTPError, match=error):
            log_in(token).create_repo("ann/m")


@pytest.mark.parametrize("token", ["hf_ann", False])
def test_missing_things_are_named_as_the_hub_names_them(hub, log_in, fetch, token):
    hub.commit("ann/m", FILES)
    hub.create("ann/d", repo_type="dataset")
    for missing in ("ann/no", "ann/d"):
        with pytest.raises(hub_errors.RepositoryNotFoundError):
            log_in(token).model_info(missing)
    with pytest.raises(hub_errors.RevisionNotFoundError):
        log_in(token).model_info("ann/m", revision="no")
    with pytest.raises(hub_errors.RevisionNotFoundError):
        fetch(revision="no", token=token)
    with pytest.raises(hub_errors.RemoteEntryNotFoundError):
        fetch("no.txt", token=token)


@pytest.mark.parametrize(("token", "private", "gated"), [("hf_bob", 404, 403), (False, 401, 401)])
def test_a_repository_can_be_private_or_gated(hub, log_in, fetch, token, private, gated):
    hub.commit("ann/m", FILES)
    hub.repo("ann/m").gated = "manual"
    assert log_in(token).model_info("ann/m").gated == "manual"
    with pytest.raises(hub_errors.GatedRepoError) as caught:
        fetch(token=token)
    assert caught.value.response.status_code == gated
    hub.repo("ann/m").private = True
    with pytest.raises(hub_errors.RepositoryNotFoundError) as caught:
        log_in(token).model_info("ann/m")
    assert caught.value.response.status_code == private
    with pytest.raises(hub_errors.RepositoryNotFoundError):
        fetch(token=token)
    assert fetch() == fetch(token="hf_ann_reads") == WEIGHTS


def test_only_a_write_token_of_the_owner_writes(hub, log_in, folder):
    before = hub.commit("ann/m", {"x": b"1"})
    for token, error in (("hf_bob", "403"), ("hf_ann_reads", "403"), (False, "401")):
        with pytest.raises(hub_errors.HfHubHTTPError, match=error):
            log_in(token).upload_folder(repo_id="ann/m", folder_path=folder)
    assert not hub.calls("/cdn/|/commit/")
    pull = log_in("hf_bob").upload_folder(repo_id="ann/m", folder_path=folder, create_pr=True)
    assert hub.files("ann/m", revision=pull.pr_revision)["model.safetensors"] == WEIGHTS
    assert hub.head("ann/m") == before


def test_an_unknown_token_is_refused_even_for_public_files(hub, fetch):
    hub.commit("ann/m", FILES)
    with pytest.raises(hub_errors.HfHubHTTPError, match="Invalid credentials"):
        fetch(token="hf_wrong")


@pytest.mark.parametrize(
    ("match", "fault", "error"),
    [
        ("/preupload/", 503, None),
        ("/preupload/", "reset", None),
        ("PUT /cdn/", "lost", None),
        ("PUT /cdn/", 403, "Error while uploading"),
        ("/commit/", 503, "503"),
        ("/commit/", "reset", "."),
        ("/commit/", "expired", "401"),
    ],
)
def test_a_push_meets_the_fault_and_loses_nothing(hub, ann, folder, match, fault, error):
    before = hub.commit("ann/m", {"x": b"1"})
    hub.fail(match, fault, seconds=0)
    if error:
        with pytest.raises(Exception, match=error):
            ann.upload_folder(repo_id="ann/m", folder_path=folder)
        assert hub.head("ann/m") == before
    ann.upload_folder(repo_id="ann/m", folder_path=folder)
    assert hub.calls(match)[0].status == (401 if fault == "expired" else fault)
    assert hub.files("ann/m") == {**hub.files("ann/m", revision=before), **FILES}


def test_a_commit_whose_answer_is_lost_exists(hub, ann, folder):
    hub.create("ann/m")
    hub.fail("/commit/", "lost")
    with pytest.raises(Exception, match="reset"):
        ann.upload_folder(repo_id="ann/m", folder_path=folder)
    assert hub.files("ann/m")["model.safetensors"] == WEIGHTS


def test_a_download_meets_the_fault(hub, fetch):
    hub.commit("ann/m", FILES)
    cdn = "GET /cdn/.*model.safetensors"
    hub.fail(cdn, "cut")
    assert fetch() == WEIGHTS, "the client tries again"
    hub.fail(cdn, 429, seconds=0)
    assert fetch() == WEIGHTS
    hub.fail(cdn, "torn")
    with pytest.raises(Exception, match="reset"):
        fetch()
    hub.fail(cdn, 503)
    with pytest.raises(hub_errors.HfHubHTTPError, match="503"):
        fetch()
    hub.fail(cdn, "corrupt")
    wrong = fetch()
    assert len(wrong) == len(WEIGHTS)
    assert sum(a != b for a, b in zip(wrong, WEIGHTS)) == 1
    assert [call.status for call in hub.calls(cdn)] == [200, 200, 429, 200, "torn", 503, 200]
    assert not hub.faults


def test_slow_is_slow_and_does_not_hold_up_others(hub):
    hub.create("ann/m")
    url = f"{hub.endpoint}/api/models/ann/m"
    hub.fail("ann/m", "slow", seconds=0.3)
    hub.fail("ann/m", "slow", seconds=60)
    started = time.monotonic()
    urllib.request.urlopen(url, timeout=5).close()
    assert time.monotonic() - started >= 0.3
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(url, timeout=0.1)
    urllib.request.urlopen(url, timeout=5).close()


def test_a_hub_that_is_down_refuses_and_comes_back_with_its_state(hub, ann):
    sha = hub.commit("ann/m", FILES)
    assert ann.model_info("ann/m").sha == sha
    with hub.down(), pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(hub.endpoint, timeout=5)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(hub.endpoint, timeout=5)
    assert hub.head("ann/m") == sha


def test_an_error_inside_the_server_and_in_a_test_is_noticed():
    hub = Hub().__enter__()
    with pytest.raises(ValueError, match="unknown fault 'slwo'"):
        hub.fail("create", "slwo")
    hub.serve = None
    with pytest.raises(urllib.error.HTTPError, match="500"):
        urllib.request.urlopen(hub.endpoint, timeout=5)
    with pytest.raises(AssertionError, match="not callable"):
        hub.__exit__(None)


def test_the_client_of_a_process_knows_this_hub_only(hub, tmp_path):
    """A data set pushed and read by `datasets`, and every address that the process asked for."""
    script = """
import sys
asked = set()
def look(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        asked.add(arguments[1][0])
    if event == "socket.getaddrinfo":
        asked.add(arguments[0])
sys.addaudithook(look)
from datasets import Dataset, load_dataset
rows = {"text": ["good", "bad"], "label": [1, 0]}
Dataset.from_dict(rows).push_to_hub("ann/reviews", private=True)
loaded = load_dataset("ann/reviews", split="train", revision="main")
assert loaded.to_dict() == rows, loaded.to_dict()
streamed = load_dataset("ann/reviews", split="train", streaming=True)
assert [row["label"] for row in streamed] == [1, 0]
print(*sorted(asked))
"""
    asked = run_script(script, hub.environment(tmp_path, "hf_ann"))
    assert set(asked.split()) <= {"127.0.0.1", "datasets-server.127.0.0.1"}
    assert any(path.endswith(".parquet") for path in hub.files("ann/reviews", repo_type="dataset"))
    assert 206 in [call.status for call in hub.calls("GET /cdn/.*parquet")], "a part was streamed"


def test_a_large_file_makes_the_round_trip_through_xet(tmp_path):
    """The content goes in and out in chunks, and a client without Xet reads it too."""
    script = """
import sys
import numpy as np
from huggingface_hub import HfApi, hf_hub_download
path = sys.argv[1]
data = np.arange(50_000, dtype="float32").tobytes() + np.random.default_rng(0).bytes(200_000)
open(path, "wb").write(data)
HfApi().create_repo("ann/m")
HfApi().upload_file(repo_id="ann/m", path_in_repo="model.safetensors", path_or_fileobj=path)
assert open(hf_hub_download("ann/m", "model.safetensors"), "rb").read() == data
"""
    pushed = tmp_path / "pushed"
    with XetHub() as hub:
        hub.add_user("ann", "hf_ann")
        environment = hub.environment(tmp_path / "home", "hf_ann") | {"HF_HUB_DISABLE_XET": "0"}
        run_script(script, environment, pushed)
        assert not hub.calls("/cdn/|PUT ")
        assert hub.calls("POST /v1/xorbs/")
        assert hub.calls("GET /v1/xorbs/")
        assert sum(map(len, hub.xorbs.values())) < pushed.stat().st_size, "nothing was compressed"
        assert hub.files("ann/m")["model.safetensors"] == pushed.read_bytes()
        url = f"{hub.endpoint}/ann/m/resolve/main/model.safetensors"
        with urllib.request.urlopen(url, timeout=5) as plain:
            assert plain.read() == pushed.read_bytes()
