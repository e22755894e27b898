"""The exported page as files: what is in the folder, what is refused, how it becomes a Space."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from sentiment_hf import SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.weights import write_encoder
from sentiment_hf.data.tokenization import word_tokenizer
from sentiment_hf.export import web_folder
from sentiment_hf.export.web_folder import export_web

ROOT = Path(__file__).parent.parent
SITE = {
    "README.md", "config.json", "index.html", "onnx/model.onnx", "page.js", "reader.js",
    "style.css", "tokenizer.json", "tokenizer_config.json", "libraries/onnxruntime-web.LICENSE",
    "libraries/ort-wasm-simd-threaded.wasm", "libraries/ort.wasm.bundle.min.js",
    "libraries/tokenizers.LICENSE", "libraries/tokenizers.min.js",
}  # fmt: skip


@pytest.fixture
def libraries(tmp_path, monkeypatch) -> Path:
    """A folder `node_modules` with small files in the place of the libraries."""
    folder, files = tmp_path / "libraries/node_modules", {}
    for place, (name, _) in web_folder.LIBRARY_FILES.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"// {name}")
        files[place] = name, hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(web_folder, "LIBRARY_FILES", files)
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def site(checkpoint, libraries, tmp_path) -> Path:
    return export_web(checkpoint, tmp_path / "site", libraries=libraries)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Puts a program of that name in the place of npm: `npm("exit 1")`; its arguments are kept."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    monkeypatch.setattr(
        web_folder.shutil,
        "which",
        lambda name: str(programs / name) if any(programs.iterdir()) else None,
    )

    def write(script: str) -> Path:
        (programs / "npm").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{script}\n')
        (programs / "npm").chmod(0o755)
        return tmp_path / "asked"

    return write


class TestFolder:
    def test_the_command_writes_a_site_that_the_pipeline_opens_too(
        self, run, checkpoint, libraries, tmp_path
    ):
        arguments = ["--format", "web", "--output", tmp_path / "out", "--libraries", libraries]
        result = run("export", checkpoint, *arguments)
        assert result.exit_code == 0, result.stderr
        assert result.stdout == f"{tmp_path / 'out'}\n"
        assert files(tmp_path / "out") == SITE
        ours, exported = (
            SentimentPipeline.from_pretrained(folder, backend="onnx")(["a good film", ""])
            for folder in (checkpoint, tmp_path / "out")
        )
        assert exported == ours

    def test_the_card_is_that_of_a_static_space(self, site):
        card = (site / "README.md").read_text()
        front = card.split("---\n")[1]
        assert re.search("^sdk: static$", front, re.M)
        assert re.search("^app_file: index.html$", front, re.M)
        assert re.search('^title: "checkpoint"$', front, re.M)
        for version in web_folder.PACKAGES.values():
            assert re.search(rf"\)\s+{re.escape(version)}", card)

    def test_two_exports_are_equal_byte_for_byte(self, site, checkpoint, libraries, tmp_path):
        again = export_web(checkpoint, tmp_path / "again", libraries=libraries)
        for name in SITE:
            assert (again / name).read_bytes() == (site / name).read_bytes()

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
    def test_the_pipeline_refuses_a_site_with_a_file_of_another(
        self, site, make_pipeline, libraries, tmp_path, name
    ):
        other = make_pipeline(seed=1, id2label={0: "pos", 1: "neg"})
        words = [*json.loads(other.tokenizer.to_str())["model"]["vocab"]]
        words[2], words[3] = words[3], words[2]
        other.tokenizer = word_tokenizer({word: i for i, word in enumerate(words)})
        other.save_pretrained(tmp_path / "other")
        foreign = export_web(tmp_path / "other", tmp_path / "foreign", libraries=libraries)
        values = json.loads((foreign / name).read_text())
        own = json.loads((site / name).read_text())
        noted = {key: own[key] for key in own if key.startswith("onnx_")}
        (site / name).write_text(json.dumps({**values, **noted}))
        with pytest.raises(SentimentError, match=f"model.onnx belongs to another {name}"):
            SentimentPipeline.from_pretrained(site, backend="onnx")

    def test_the_name_of_the_model_is_text(self, checkpoint, libraries, tmp_path):
        named = checkpoint.rename(tmp_path / "<img src=x> & {name}")
        page = export_web(named, tmp_path / "out", libraries=libraries) / "index.html"
        assert "<strong>&lt;img src=x&gt; &amp; {name}</strong>" in page.read_text()

    @pytest.mark.parametrize("dtype", ["float32", "int8"])
    def test_the_weights_are_stored_as_asked_for(self, checkpoint, libraries, tmp_path, dtype):
        folder = export_web(checkpoint, tmp_path / "out", dtype=dtype, libraries=libraries)
        pipe = SentimentPipeline.from_pretrained(folder, backend="onnx")
        expected = SentimentPipeline.from_pretrained(checkpoint)("a good film")[0]
        assert pipe("a good film")[0]["score"] == pytest.approx(expected["score"], abs=0.05)

    def test_the_page_asks_no_other_host_and_never_reads_a_text_as_html(self):
        page = (web_folder.TEMPLATES / "index.html").read_text()
        script = "".join(path.read_text() for path in web_folder.TEMPLATES.glob("*.js"))
        assert "default-src 'none'" in page
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page + script)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", script)


class TestLibraries:
    def test_those_of_the_working_directory_come_first(self, checkpoint, libraries, npm, tmp_path):
        asked = npm("exit 1")
        libraries.rename(tmp_path / "node_modules")
        assert files(export_web(checkpoint, tmp_path / "out")) == SITE
        assert not asked.exists()

    def test_npm_fills_a_cache_once(self, checkpoint, libraries, npm, tmp_path):
        asked = npm(f'for last; do :; done; mkdir -p "$last"; cp -r {libraries} "$last"')
        for name in ("one", "two"):
            assert files(export_web(checkpoint, tmp_path / name)) == SITE
        assert asked.read_text().count("\n") == 1
        assert "install --ignore-scripts onnxruntime-web@1.30.0" in asked.read_text()

    def test_where_npm_fails_or_is_missing_one_sentence_says_what_to_do(
        self, run, checkpoint, libraries, npm, tmp_path
    ):
        arguments = ["export", checkpoint, "--format", "web", "--output", tmp_path / "out"]
        missing = run(*arguments)
        npm("echo 'npm error code ENOTFOUND' >&2; exit 1")
        failing = run(*arguments)
        for result, said in [(missing, "which is missing"), (failing, "ENOTFOUND")]:
            assert said in result.stderr
            assert "`npm install --ignore-scripts onnxruntime-web@1.30.0" in result.stderr
            assert "--libraries" in result.stderr
            assert [line.startswith("error:") for line in result.stderr.splitlines()].count(
                True
            ) == 1
        assert (missing.exit_code, failing.exit_code) == (2, 1)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("damage", ["cut", "missing", "another"])
    def test_a_damaged_library_is_not_copied(self, run, checkpoint, libraries, tmp_path, damage):
        path = libraries / "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"
        whole = path.read_bytes()
        path.unlink()
        if damage != "missing":
            path.write_bytes(whole[:-1] if damage == "cut" else whole + b" ")
        arguments = ["--format", "web", "--output", tmp_path / "out", "--libraries", libraries]
        result = run("export", checkpoint, *arguments)
        assert result.exit_code == 2
        assert path.name in result.stderr
        assert "npm install" in result.stderr
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()

    def test_package_json_names_the_same_versions(self):
        package = json.loads((ROOT / "package.json").read_text())
        lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
        assert package["dependencies"] == web_folder.PACKAGES
        assert lock[""]["dependencies"] == web_folder.PACKAGES


def test_what_cannot_be_exported_is_one_sentence(run, checkpoint, site, libraries, tmp_path):
    encoder = shutil.copytree(checkpoint, tmp_path / "encoder")
    write_encoder(encoder, SentimentPipeline.from_pretrained(checkpoint).network)
    before = sorted(tmp_path.rglob("*"))
    for model, output, options, said in [
        (encoder, "out", [], "without a head"),
        (tmp_path / "nowhere", "out", [], "nowhere"),
        (checkpoint, "site", [], "site.*--output"),
        (checkpoint, "out", ["--libraries", tmp_path], "npm install"),
        (checkpoint, "out", ["--format", "onnx", "--libraries", libraries], "--libraries.*web"),
    ]:
        arguments = ["--format", "web", "--output", tmp_path / output, "--libraries", libraries]
        result = run("export", model, *arguments, *options)
        assert result.exit_code == 2
        assert re.search(said, result.stderr)
        assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


class TestSpace:
    def pushed(self, hub) -> dict[str, bytes]:
        return hub.files("ann/page", repo_type="space")

    def test_a_page_becomes_a_static_space(self, hub, run, site):
        result = run("push", site, "ann/page", "--space")
        assert result.exit_code == 0, result.stderr
        assert result.stdout == f"{hub.endpoint}/spaces/ann/page\n"
        assert hub.repo("ann/page", "space").sdk == "static"
        assert set(self.pushed(hub)) == {".gitattributes", *SITE}
        for name in SITE:
            assert self.pushed(hub)[name] == (site / name).read_bytes()
        head = hub.head("ann/page", repo_type="space")
        assert run("push", site, "ann/page", "--space").exit_code == 0
        assert hub.head("ann/page", repo_type="space") == head

    def test_only_the_page_is_sent_and_what_is_no_more_in_it_is_deleted(self, hub, run, site):
        (site / ".env").write_text("secret")
        (site / "libraries/link.js").symlink_to(os.devnull)
        hub.commit("ann/page", {"libraries/old.js": b"", "mine.txt": b""}, repo_type="space")
        assert run("push", site, "ann/page", "--space").exit_code == 0
        assert set(self.pushed(hub)) == {".gitattributes", "mine.txt", *SITE}

    def test_a_card_on_the_hub_is_kept_until_it_is_to_be_replaced(self, hub, run, site):
        hub.commit("ann/page", {"README.md": b"mine"}, repo_type="space")
        assert run("push", site, "ann/page", "--space").exit_code == 0
        assert self.pushed(hub)["README.md"] == b"mine"
        assert run("push", site, "ann/page", "--space", "--replace-card").exit_code == 0
        assert self.pushed(hub)["README.md"] == (site / "README.md").read_bytes()

    def test_private_branch_tag_and_pull_request_are_those_of_a_model(self, hub, run, site):
        options = ["--space", "--private", "--branch", "next", "--tag", "v1"]
        assert run("push", site, "ann/page", *options).exit_code == 0
        assert hub.repo("ann/page", "space").private
        assert set(hub.files("ann/page", "v1", "space")) == {".gitattributes", *SITE}
        assert set(self.pushed(hub)) == {".gitattributes"}
        result = run("push", site, "ann/page", "--space", "--create-pr")
        assert result.stdout.startswith(f"{hub.endpoint}/spaces/ann/page/discussions/1")
        assert set(self.pushed(hub)) == {".gitattributes"}

    def test_what_is_no_page_becomes_no_space(self, hub, run, site, checkpoint):
        (site / "page.js").unlink()
        for folder, said in [(checkpoint, "index.html"), (site, "page.js"), (site / "no", "no")]:
            result = run("push", folder, "ann/page", "--space")
            assert result.exit_code == 2
            assert said in result.stderr
            assert result.stderr.count("\n") == 1
        assert hub.repos == {}


def test_in_python_too_the_message_names_the_parameter(checkpoint, libraries, tmp_path):
    with pytest.raises(SentimentError, match="`libraries`"):
        export_web(checkpoint, tmp_path / "out", libraries=tmp_path)
    with pytest.raises(SentimentError, match=r"`dtype`.*float32, float16, int8"):
        export_web(checkpoint, tmp_path / "out", dtype="int4", libraries=libraries)
