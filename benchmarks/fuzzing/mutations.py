"""Changes to files: to their bytes, and to what stands in them, by random numbers that a seed decides."""

from __future__ import annotations

import copy
import io
import json
import math
import re
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 17, 255, 2**31, -(2**31), 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400,
    0.0, -0.5, 0.5, 1e-320, 1e15, 1e39, 1e308, -1e308, math.nan, math.inf, -math.inf, "", "0", "1", "nan", "true", "a",
    "\0", "\ud800", "../../x", "/dev/zero", "%s%n", "x" * 10_000, "é中\u202e", [], [[]], [0], [None] * 3, ["a", "b"],
    list(range(1000)), {}, {"": None}, {"a": {"b": []}}, {"0": 0},
)  # fmt: skip
"""Values that somebody might not have thought of."""


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """Flips, cuts, inserts, repeats and overwrites, most often one of these, and near the ends as often as within."""
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        data = rng.choice((_flip, _flip, _insert, _splice, _overwrite, _remove, _remove))(data, _place(data, rng), rng)
    return data


def _place(data: bytes, rng: Random) -> int:
    size = len(data)
    near_end = max(0, size - rng.randrange(1, 400))
    return rng.choice((rng.randrange(size + 1), rng.randrange(min(size, 200) + 1), near_end))


def _flip(data: bytes, place: int, rng: Random) -> bytes:
    changed = bytes(byte ^ 1 << rng.randrange(8) for byte in data[place : place + 1])
    return data[:place] + changed + data[place + 1 :]


def _insert(data: bytes, place: int, rng: Random) -> bytes:
    return data[:place] + rng.randbytes(rng.choice((1, 2, 4, 8, 100))) + data[place:]


def _splice(data: bytes, place: int, rng: Random) -> bytes:
    start = _place(data, rng)
    return data[:place] + data[start : start + rng.choice((4, 16, 64, 1000))] + data[place:]


def _overwrite(data: bytes, place: int, rng: Random) -> bytes:
    odd = rng.choice((b"\0" * 8, b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"-1"))
    return data[:place] + odd + data[place + len(odd) :]


def _remove(data: bytes, place: int, rng: Random) -> bytes:
    return data[:place] + data[place + rng.choice((1, 2, 4, 64, len(data), len(data))) :]


def mutate_value(value: Any, rng: Random, odd: tuple[Any, ...] = ODD) -> Any:
    """A copy of nested lists and dictionaries in which some entries change, go, double or nest."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder: Any = {"": value}
        key: Any = ""
        while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.94:
            holder = holder[key]
            key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        _change(holder, key, rng, odd)
        if key == "" and "" in holder:
            value = holder[""] if holder.keys() == {""} else value
    return value


def _change(holder: Any, key: Any, rng: Random, odd: tuple[Any, ...]) -> None:
    how = rng.random()
    if how < 0.55 or key == "":
        holder[key] = copy.deepcopy(rng.choice(odd))
    elif how < 0.7:
        del holder[key]
    elif how < 0.78:
        holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, [holder[key]] * 2))
    elif how < 0.84:
        for _ in range(rng.choice((3, 200, 3000))):
            holder[key] = [holder[key]]
    elif isinstance(holder, list):
        rng.choice((holder.reverse, lambda: holder.append(holder[key]), lambda: holder.extend(holder[:20] * 3)))()
    else:
        name = rng.choice((key, str(key).upper()))
        holder[name] = holder.pop(key) if name != key else rng.choice([*holder.values()])


def mutate_json(data: bytes, rng: Random) -> bytes:
    """The content of a JSON file; now and then its bytes."""
    if rng.random() < 0.2:
        return mutate_text(data, rng)
    try:
        return json.dumps(mutate_value(json.loads(data), rng)).encode()
    except RecursionError:
        return b"[" * 100_000


_TOKEN = re.compile(rb"[-\w.+]+")
_ODD_TEXT = (
    b"", b"0", b"-1", b"1e999", b"nan", b"inf", b"9" * 30, b"9" * 6000, b"null", b"true", b"on", b"\xff\xfe", b"\0",
    b"[" * 5000, b"{" * 5000, b"&a [*a]", b"*x", b"!!python/object/apply:os.mkdir [x]", b"<![CDATA[", b"&lol;", b"'",
    b'"', b": ", b"- ", b"\r", b"\t", b"\xc3\xa9", b"a" * 3000, b"../../../etc", b"? [a, b]\n: c", b"<<: *a",
)  # fmt: skip


def mutate_text(data: bytes, rng: Random) -> bytes:
    """Words and lines of any text format."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        tokens = list(_TOKEN.finditer(data))
        if not tokens or rng.random() < 0.25:
            data = mutate_bytes(data, rng)
        elif rng.random() < 0.6:
            token = rng.choice(tokens)
            data = data[: token.start()] + rng.choice(_ODD_TEXT) + data[token.end() :]
        else:
            lines = data.splitlines(keepends=True)
            place = rng.randrange(len(lines))
            lines[place : place + 1] = rng.choice(([], lines[place : place + 1] * 2, [rng.choice(lines), lines[place]]))
            data = b"".join(lines)
    return data


def mutate_zip(data: bytes, rng: Random, member: Mutation = mutate_bytes) -> bytes:
    """Members changed, missing, doubled, renamed or packed; sums of what is inside stay right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return mutate_bytes(data, rng)
    place, how, packing = rng.randrange(len(members)), rng.random(), zipfile.ZIP_STORED
    name, content = members[place]
    if how < 0.6:
        members[place] = name, member(content, rng)
    elif how < 0.8:
        members[place : place + 1] = rng.choice(([], [members[place], (name, member(content, rng))]))
    elif how < 0.9:
        members[place] = rng.choice(("../" + name, name + "x", name.upper(), "/" + name)), content
    else:
        packing = zipfile.ZIP_DEFLATED
        members[place] = name, content + bytes(300_000_000 if rng.random() < 0.3 else 0)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", packing) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return written.getvalue()


def mutate_npy(data: bytes, rng: Random) -> bytes:
    """An array of NumPy: its header's words, or its bytes."""
    if len(data) < 12 or rng.random() < 0.3:
        return mutate_bytes(data, rng)
    end = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:end].decode("latin1").rstrip()
    shape = rng.choice(("(3000000000000,)", "(-1,)", "(1000000, 1000000)", "()", "(1.5,)", "('a',)", "(0,)", "((1,),)"))
    kind = rng.choice(("|O", "<f8", "<c16", "|S8", ">i2", "<M8[s]", "<U100000000", "|V8", "nonsense", "[('a','<f4')]"))
    odd = rng.choice((
        re.sub(r"'shape': \([^)]*\)", lambda _: f"'shape': {shape}", header),
        re.sub(r"'descr': '[^']*'", lambda _: f"'descr': {kind if kind[0] == '[' else repr(kind)}", header),
        header.replace("False", "True"), "{}", header[:-3], "(" * 200, "__import__('os').mkdir('x')",
    )).encode("latin1")  # fmt: skip
    return data[:8] + struct.pack("<H", len(odd) + 1) + odd + b"\n" + data[end:]


def mutate_npz(data: bytes, rng: Random) -> bytes:
    """An archive of arrays: one of them, or its bytes."""
    return mutate_zip(data, rng, mutate_npy) if rng.random() < 0.7 else mutate_bytes(data, rng)
