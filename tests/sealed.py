"""Files as an attacker who knows the format could forge them: any header and any bytes, with correct checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from numpylstm.safetensors import DATA_SUMS, DIGITS, HEADER_SUM, METADATA

Header = dict[str, dict]


def raw(header: object, data: bytes = b"") -> bytes:
    """Return a file with this header, a JSON value or its text, without adding checksums."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def seal(text: bytes, data: bytes = b"") -> bytes:
    """Return a file with this header text, with the header's checksum filled in."""
    length = len(text).to_bytes(8, "little")
    blank = text[: DIGITS.start] + b"0" * 64 + text[DIGITS.stop :]
    digest = hashlib.sha256(length + blank).hexdigest().encode()
    return length + text[: DIGITS.start] + digest + text[DIGITS.stop :] + data


def sealed(header: Header, data: bytes) -> bytes:
    """Return a file with this header and data, with all checksums correct for whatever its entries say."""
    entries = [entry for name, entry in header.items() if name != METADATA]
    bounds = [entry["data_offsets"] for entry in entries if isinstance(entry, dict) and "data_offsets" in entry]
    bounds = sorted(pair for pair in bounds if isinstance(pair, list) and [type(n) for n in pair] == [int, int])
    sums = [hashlib.sha256(data[max(0, start) : max(0, stop)]).hexdigest() for start, stop in bounds]
    sums += ["0" * 64] * (len(entries) - len(sums))
    metadata = header.get(METADATA, {})
    if isinstance(metadata, dict):
        metadata = {HEADER_SUM: "0" * 64, **metadata}
        metadata.setdefault(DATA_SUMS, " ".join(sums))
    text = json.dumps({METADATA: metadata, **{n: e for n, e in header.items() if n != METADATA}}, separators=(",", ":"))
    return seal(text.encode(), data)


def parts(file: bytes) -> tuple[Header, bytes]:
    """Return a file's header, without its checksums, and the bytes after it."""
    stop = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:stop])
    for name in (HEADER_SUM, DATA_SUMS):
        header[METADATA].pop(name)
    return header, file[stop:]


def forged(file: bytes, change: Callable[[Header, bytes], bytes | None]) -> bytes:
    """Return `file` after `change` edits its header in place and perhaps returns new data; checksums are correct."""
    header, data = parts(file)
    changed = change(header, data)
    return sealed(header, data if changed is None else changed)


def retold(file: bytes, change: Callable[[dict], object]) -> bytes:
    """Return `file` after `change` edits the model's JSON object in place, with correct checksums."""

    def inner(header: Header, data: bytes) -> None:
        told = json.loads(header[METADATA]["numpylstm"])
        new = change(told)
        header[METADATA]["numpylstm"] = new if isinstance(new, str) else json.dumps(told)

    return forged(file, inner)
