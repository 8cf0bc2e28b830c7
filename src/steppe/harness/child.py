"""The process that computes on behalf of a worker of somebody else's pool: orders come in, answers go out, as JSON."""

import os
import platform
import sys
from typing import Any, BinaryIO

import msgspec

from .provenance import machine
from .shipping import receive
from .sources import source_digest
from .study import Study
from .worker import initialize, work

_LENGTH = 8


def send(pipe: BinaryIO, message: bytes) -> None:
    """Write one message."""
    pipe.write(len(message).to_bytes(_LENGTH, "big") + message)
    pipe.flush()


def main() -> None:
    """Serve the parent until it closes the pipe or ends."""
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    hello = msgspec.json.decode(_message(orders) or b"{}")
    initialize(hello["parent"], hello["preload"])
    send(answers, b"{}")
    shipped, refusal = b"", ""
    while (message := _message(orders)) is not None:
        order = msgspec.json.decode(message)
        if order["ships"]:
            shipped = _message(orders) or b""
            refusal = _refusal(shipped, order["driver"])
        answer = {"refused": refusal} if refusal else _answer(shipped, order, hello["trace"])
        try:
            send(answers, msgspec.json.encode(answer))
        except BrokenPipeError:  # the worker is gone, and with it whoever waited
            break
    sys.stderr.flush()
    os._exit(0)  # not even a thread that a study left behind may keep this process


def _message(pipe: BinaryIO) -> bytes | None:
    length = pipe.read(_LENGTH)
    return pipe.read(int.from_bytes(length, "big")) if len(length) == _LENGTH else None


def _answer(shipped: bytes, order: dict[str, Any], trace: int) -> dict[str, Any]:
    outcomes, facts = work(shipped, order["cells"], order["deadline"], trace)
    told = [[found.status, found.result and found.result.decode(), found.error] for found in outcomes]
    return {"outcomes": told, "facts": {**machine(), **facts}}


def identity_here() -> dict[str, Any]:
    """What must agree between the driver and those who compute for it."""
    steppe = machine()["versions"].get("steppe", "")
    return {"python": ".".join(platform.python_version_tuple()[:2]), "steppe": steppe, "host": machine()["host"]}


def _refusal(shipped: bytes, driver: dict[str, Any]) -> str:
    """Why this installation must not compute for that driver, or nothing: other code would give other numbers."""
    here = identity_here()
    for what in ("python", "steppe"):
        if here[what] != driver[what]:
            return (
                f"workers must have the driver's {what} {driver[what]}, got {here[what]} on {here['host']}; "
                "install the same on every machine"
            )
    if here["host"] == driver["host"] or shipped[:1] != b"n":
        return ""
    try:
        study = receive(shipped)
    except Exception:
        return ""  # `work` says it, with its reason
    if isinstance(study, Study) and source_digest(study) != driver["source"]:
        return (
            f"workers must have the sources of `{study.slug}` that the driver has, got others on {here['host']}; "
            "install the same steppe and the same study there"
        )
    return ""
