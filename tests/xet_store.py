"""A `Hub` with the content store of `hf_xet`, for whole files: https://huggingface.co/docs/xet"""

import hashlib
import struct

import pyarrow
from faulty_server import RefusedError, answer, ranged
from hub_server import REPO, ROUTES, Hub

ROUTES[f"GET /api/{REPO}/xet-write-token/([^/]+)"] = ("get_xet_token", "write")
ROUTES[f"GET /api/{REPO}/xet-read-token/([^/]+)"] = ("get_xet_token", "content")


def hex_hash(raw: bytes) -> str:
    return b"".join(raw[i : i + 8][::-1] for i in range(0, 32, 8)).hex()


def chunks(xorb: bytes) -> list[tuple[int, int, bytes]]:
    """Where each chunk of a xorb starts and ends, and its content; a footer may follow them."""
    found, end = [], 0
    while end < len(xorb) and xorb[end] == 0:
        start, scheme = end, xorb[end + 4]
        packed, size = (int.from_bytes(xorb[start + i : start + i + 3], "little") for i in (1, 5))
        end = start + 8 + packed
        data = xorb[start + 8 : end]
        if scheme:
            data = pyarrow.decompress(data, size, codec="lz4", asbytes=True)
        if scheme == 2:  # the bytes of every four are apart
            groups, data = iter(data), bytearray(size)
            for i in range(4):
                data[i::4] = bytes(next(groups) for _ in range(i, size, 4))
        found.append((start, end, bytes(data)))
    return found


class XetHub(Hub):
    sides = ("api", "cdn", "cas")

    def __init__(self):
        super().__init__()
        self.xorbs, self.xet_hashes, self.reconstructions = {}, {}, {}

    def get_xet_token(self, request, repo, revision):
        named = {"casUrl": self.address("cas"), "accessToken": repo.web, "exp": 2**33}
        headers = zip(("Cas-Url", "Access-Token", "Token-Expiration"), map(str, named.values()))
        return answer(named, **{f"X-Xet-{name}": value for name, value in headers})

    def get_file(self, request, repo, revision, path):
        reply = super().get_file(request, repo, revision, path)
        if xet_hash := self.xet_hashes.get(reply.headers.get("X-Linked-ETag")):
            url = f"{self.endpoint}/api/{repo.kind}s/{repo.id}/xet-read-token/{revision}"
            reply.headers.update({"X-Xet-Hash": xet_hash, "Link": f'<{url}>; rel="xet-auth"'})
        return reply

    def serve(self, request):
        if request.side != "cas":
            return super().serve(request)
        name = request.path.rpartition("/")[2]
        if request.matches("POST /v1/shards"):
            return self.add_shard(request)
        if request.matches("GET /v1/reconstructions/"):
            return answer(self.reconstructions[name])
        if request.matches("GET /v1/xorbs/"):
            return ranged(request, self.xorbs[name], {})
        if request.matches("POST /v1/xorbs/"):
            self.xorbs[name] = request.body
            return answer({"was_inserted": True})
        raise RefusedError(404, "Not Found")

    def add_shard(self, request):
        token = request.headers["authorization"].removeprefix("Bearer ")
        repo = next(repo for repo in self.repos.values() if repo.web == token)
        rows = iter(request.body[i : i + 48] for i in range(48, len(request.body), 48))
        while (file := next(rows))[:32] != b"\xff" * 32:
            file_hash, count = struct.unpack("<32s4xI8x", file)
            data, terms, fetched = b"", [], {}
            for _ in range(count):
                xorb_hash, size, first, last = struct.unpack("<32s4xIII", next(rows))
                xorb, span = hex_hash(xorb_hash), {"start": first, "end": last}
                part = chunks(self.xorbs[xorb])[first:last]
                data += b"".join(chunk for _, _, chunk in part)
                terms.append({"hash": xorb, "unpacked_length": size, "range": span})
                where = {"start": part[0][0], "end": part[-1][1] - 1}
                url = f"{self.address('cas')}/v1/xorbs/{xorb}"
                fetched.setdefault(xorb, []).append({"range": span, "url": url, "url_range": where})
            for _ in range(count + 1):  # of each term a checksum, and of the file its sha256
                next(rows)
            oid, name = hashlib.sha256(data).hexdigest(), hex_hash(file_hash)
            repo.objects[oid], self.xet_hashes[f'"{oid}"'] = data, name
            found = {"offset_into_first_range": 0, "terms": terms, "fetch_info": fetched}
            self.reconstructions[name] = found
        return answer({"result": 1})
