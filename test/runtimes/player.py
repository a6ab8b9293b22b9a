"""Plays tapes of replays (see tape.ts) on wasmtime.

    python3 player.py NAME=NUMBER,... MODULE.wasm TAPE...     (constants of abi.ts)

Instantiates the core without imports, makes the calls of each tape with the same bytes in its
memory, compares every answer, hashes what the core puts out, and compares with the tape's sha256.
Exit codes: 0 all equal, 1 something differs, 77 wasmtime is not installed.
"""

import hashlib
import struct
import sys

try:
    import wasmtime
except ImportError:
    print("python3 has no module wasmtime (pip install wasmtime)")
    sys.exit(77)

CONSTANTS = dict(pair.split("=") for pair in sys.argv[1].split(","))
TX_BASE = int(CONSTANTS["TX_BASE"])
TX_BYTES = int(CONSTANTS["TX_BYTES"])
GAUGES_BASE = int(CONSTANTS["GAUGES_BASE"])


def signed(value):
    value = int(value) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


class Player:
    """One instance of the core."""

    def __init__(self, engine, module):
        self.store = wasmtime.Store(engine)
        exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.memory = exports["memory"]
        self.calls = {}
        for name, export in exports.items():
            if isinstance(export, wasmtime.Func):
                kinds = [str(kind) == "f64" for kind in export.type(self.store).params]
                self.calls[name] = (export, kinds)
        self.hash = hashlib.sha256()
        self.is_over = False
        self.packets = 0

    def read(self, start, count):
        return self.memory.read(self.store, start, start + count)

    def call(self, name, args):
        if name == "txDone" and not self.is_over:
            self.take()
        function, kinds = self.calls[name]
        plain = [arg if is_float else signed(arg) for arg, is_float in zip(args, kinds)]
        return function(self.store, *plain)

    def take(self):
        """Hashes the packets of the TX block."""
        (count,) = struct.unpack("<I", self.read(GAUGES_BASE, 4))
        for index in range(count):
            record = bytes(self.read(TX_BASE + index * TX_BYTES, TX_BYTES))
            pointer, length, spans = struct.unpack_from("<IHH", record)
            self.hash.update(self.read(pointer, length))
            for span in range(spans):
                pointer, length = struct.unpack_from("<II", record, 8 + 8 * span)
                self.hash.update(self.read(pointer, length))
            self.packets += 1


def play(player, tape):
    """Plays a tape; answers what differed, or an empty string."""
    at = 0
    calls = 0
    while True:
        kind = tape[at : at + 1]
        at += 1
        if kind == b"W":
            pointer, length = struct.unpack_from("<II", tape, at)
            at += 8
            player.memory.write(player.store, tape[at : at + length], pointer)
            at += length
        elif kind == b"C":
            name = tape[at + 1 : at + 1 + tape[at]].decode("latin1")
            at += 1 + tape[at]
            count = tape[at]
            *args, expected = struct.unpack_from(f"<{count + 1}d", tape, at + 1)
            at += 1 + 8 * (count + 1)
            answer = player.call(name, args) or 0
            calls += 1
            if float(answer) != expected:
                return f"call {calls}, {name}{tuple(args)}: {answer}, expected {expected}"
        elif kind == b"X":
            player.is_over = True
        elif kind == b"E":
            expected = tape[at : at + 64].decode("latin1")
            digest = player.hash.hexdigest()
            if digest != expected:
                return f"sha256 {digest}, expected {expected}"
            print(f"{calls} calls, {player.packets} packets, sha256 {digest}")
            return ""
        else:
            return f"a broken tape at {at - 1}"


def main():
    config = wasmtime.Config()
    config.wasm_simd = True
    engine = wasmtime.Engine(config)
    module = wasmtime.Module.from_file(engine, sys.argv[2])
    failed = False
    for path in sys.argv[3:]:
        with open(path, "rb") as file:
            tape = file.read()
        fault = play(Player(engine, module), tape)
        if fault:
            print(f"{path}: {fault}")
            failed = True
    sys.exit(1 if failed else 0)


main()
