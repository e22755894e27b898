"""A `Hub` with the content store of Xet: what `hf_xet` uploads to and downloads from.

Formats: https://huggingface.co/docs/xet (shards, xorbs, the CAS API). A third port (side "cas").
`XetHub.environment` leaves Xet on. Partial downloads of a file are not served.
"""

import hashlib
import re
import time
from pathlib import Path

import pyarrow
from faulty_server import RefusedError, Reply, Request, answer, ranged
from hub_server import NEEDS, Hub

NEEDS |= {"get_xet_write_token": "write", "get_xet_read_token": "content"}
VERIFIED, WITH_SHA256 = 1 << 31, 1 << 30


def hex_hash(raw: bytes) -> str:
    return "".join(raw[i : i + 8][::-1].hex() for i in range(0, 32, 8))


def chunks(xorb: bytes) -> list[tuple[int, int, bytes]]:
    """Where each chunk of a xorb starts and ends, and its content; a footer may follow them."""
    found, start = [], 0
    while start < len(xorb) and xorb[start] == 0:
        packed, size = (int.from_bytes(xorb[start + i : start + i + 3], "little") for i in (1, 5))
        end = start + 8 + packed
        data, scheme = xorb[start + 8 : end], xorb[start + 4]
        if scheme:
            data = pyarrow.decompress(data, size, codec="lz4", asbytes=True)
        if scheme == 2:
            grouped, data, offset = data, bytearray(size), 0
            for i in range(4):
                length = len(range(i, size, 4))
                data[i::4] = grouped[offset : offset + length]
                offset += length
        found.append((start, end, bytes(data)))
        start = end
    return found


class XetHub(Hub):
    sides = ("api", "cdn", "cas")

    def __init__(self):
        super().__init__()
        self.xorbs: dict[str, bytes] = {}
        self.terms: dict[str, list[tuple[str, int, int, int]]] = {}
        self.xet_hashes: dict[str, str] = {}

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        return super().environment(home, token) | {"HF_HUB_DISABLE_XET": "0"}

    def get_xet_write_token(self, request, repo, *_):
        cas, expires = self.address("cas"), int(time.time()) + 3600
        headers = {"Url": cas, "Access_Token": repo.web, "Token_Expiration": str(expires)}
        headers = {f"X_Xet_{name}": value for name, value in headers.items()}
        headers["X_Xet_Cas_Url"] = headers.pop("X_Xet_Url")
        return answer({"accessToken": repo.web, "exp": expires, "casUrl": cas}, **headers)

    get_xet_read_token = get_xet_write_token

    def get_resolve(self, request, repo, revision, path):
        reply = super().get_resolve(request, repo, revision, path)
        if xet_hash := self.xet_hashes.get(repo.at(revision).files[path].etag):
            url = f"{self.endpoint}/api/{repo.kind}s/{repo.id}/xet-read-token/{revision}"
            reply.headers.update({"X-Xet-Hash": xet_hash, "Link": f'<{url}>; rel="xet-auth"'})
        return reply

    def serve(self, request: Request) -> Reply:
        if request.side != "cas":
            return super().serve(request)
        name = request.path.rpartition("/")[2]
        if re.match("/v1/xorbs/default/", request.path):
            if request.method == "GET":
                return ranged(request, self.xorbs[name], {})
            self.xorbs[name] = request.body
            return answer({"was_inserted": True})
        if request.path == "/v1/shards":
            token = request.headers["authorization"].removeprefix("Bearer ")
            repo = next(repo for repo in self.repos.values() if repo.web == token)
            self.add_shard(repo, request.body)
            return answer({"result": 1})
        if request.path.startswith("/v1/reconstructions/") and name in self.terms:
            return answer(self.reconstruction(self.terms[name]))
        raise RefusedError(404, "Not Found")

    def add_shard(self, repo, shard: bytes):
        rows = (shard[i : i + 48] for i in range(48, len(shard), 48))
        for header in rows:
            if header[:32] == b"\xff" * 32:
                return
            flags, count = (int.from_bytes(header[i : i + 4], "little") for i in (32, 36))
            terms = [
                (
                    hex_hash(row[:32]),
                    *(int.from_bytes(row[i : i + 4], "little") for i in (36, 40, 44)),
                )
                for row in (next(rows) for _ in range(count))
            ]
            for _ in range(count * bool(flags & VERIFIED) + bool(flags & WITH_SHA256)):
                next(rows)
            parts = (chunks(self.xorbs[xorb])[first:last] for xorb, _, first, last in terms)
            data = b"".join(chunk for part in parts for _, _, chunk in part)
            sha256 = hashlib.sha256(data).hexdigest()
            repo.large[sha256] = data
            self.terms[hex_hash(header[:32])] = terms
            self.xet_hashes[sha256] = hex_hash(header[:32])

    def reconstruction(self, terms):
        found = {"offset_into_first_range": 0, "terms": [], "fetch_info": {}}
        for xorb, size, first, last in terms:
            part = chunks(self.xorbs[xorb])[first:last]
            span, url = (
                {"start": first, "end": last},
                f"{self.address('cas')}/v1/xorbs/default/{xorb}",
            )
            found["terms"].append({"hash": xorb, "unpacked_length": size, "range": span})
            bytes_ = {"start": part[0][0], "end": part[-1][1] - 1}
            info = {"range": span, "url": url, "url_range": bytes_}
            found["fetch_info"].setdefault(xorb, []).append(info)
        return found
