"""A `Hub` with the content store that `hf_xet` uses, on a third port ("cas"); whole files only.

The formats of xorbs and shards: https://huggingface.co/docs/xet
"""

import hashlib
import struct

import pyarrow
from faulty_server import RefusedError, answer, ranged
from hub_server import REPO, ROUTES, Hub

ROUTES[f"GET /api/{REPO}/xet-write-token/([^/]+)"] = ("get_xet_token", "write")
ROUTES[f"GET /api/{REPO}/xet-read-token/([^/]+)"] = ("get_xet_token", "content")
VERIFIED, WITH_SHA256 = 1 << 31, 1 << 30


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
        self.xorbs, self.terms, self.xet_hashes = {}, {}, {}

    def environment(self, home, token=None):
        return super().environment(home, token) | {"HF_HUB_DISABLE_XET": "0"}

    def get_xet_token(self, request, repo, revision):
        url, token, end = self.address("cas"), repo.web, 2**33
        headers = {"X_Xet_Cas_Url": url, "X_Xet_Access_Token": token}
        headers["X_Xet_Token_Expiration"] = str(end)
        return answer({"casUrl": url, "accessToken": token, "exp": end}, **headers)

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
            return self.reconstruction(self.terms[name])
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
            raw_hash, flags, count = struct.unpack("<32sII8x", file)
            entries = [struct.unpack("<32s4xIII", next(rows)) for _ in range(count)]
            for _ in range(count * bool(flags & VERIFIED) + bool(flags & WITH_SHA256)):
                next(rows)
            terms = [(hex_hash(xorb), *numbers) for xorb, *numbers in entries]
            parts = (chunks(self.xorbs[xorb])[first:last] for xorb, _, first, last in terms)
            data = b"".join(chunk for part in parts for _, _, chunk in part)
            sha256, xet_hash = hashlib.sha256(data).hexdigest(), hex_hash(raw_hash)
            repo.objects[sha256], self.terms[xet_hash] = data, terms
            self.xet_hashes[f'"{sha256}"'] = xet_hash
        return answer({"result": 1})

    def reconstruction(self, terms):
        shown, fetched = [], {}
        for xorb, size, first, last in terms:
            part = chunks(self.xorbs[xorb])[first:last]
            span, url = {"start": first, "end": last}, f"{self.address('cas')}/v1/xorbs/{xorb}"
            where = {"start": part[0][0], "end": part[-1][1] - 1}
            shown.append({"hash": xorb, "unpacked_length": size, "range": span})
            info = {"range": span, "url": url, "url_range": where}
            fetched.setdefault(xorb, []).append(info)
        return answer({"offset_into_first_range": 0, "terms": shown, "fetch_info": fetched})
