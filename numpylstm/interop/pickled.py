"""A reader of pickles that can call only the functions it is given, and knows few instructions.

The pickle module runs whatever a file names. This reader has a table of names, and refuses any other, naming it, when
it meets it. Besides these functions' results it makes only None, booleans, numbers, strings, tuples, lists and
dictionaries whose keys are strings or integers; nothing else can be on its stack, so nothing else can happen. Time and
memory are bounded by MAX_BYTES and MAX_INSTRUCTIONS.

The instructions are those that such values need, of protocols 2 to 5 (Python's pickletools documents each).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

MAX_BYTES = 2**24
MAX_INSTRUCTIONS = 10**6
MAX_KEY = 2**60  # below it, no two integers have one hash: looking keys up among such would take quadratic time
PROTOCOLS = range(2, 6)


class Known:
    """A name that a pickle may mention; if it may be called, `call` does it."""

    def __init__(self, name: str, call: Callable[..., object] | None = None):
        self.name, self.call = name, call


class Refused(ValueError):
    """Raised for a pickle that is damaged or needs anything else."""


def load(data: bytes, known: Mapping[str, Known], persistent: Callable[[object], object]) -> object:
    """Return the value that `data` describes.

    known: what it may name, by "module name". persistent: turns a persistent id into a value. Raises Refused for
    anything else, and what these functions raise.
    """
    if len(data) > MAX_BYTES:
        raise Refused(f"takes {len(data)} bytes, more than the {MAX_BYTES} that are read")
    return _Machine(data, known, persistent).run()


class _Machine:
    """The virtual machine that runs a pickle: a stack, a stack of mark positions, and a memo."""

    def __init__(self, data: bytes, known: Mapping[str, Known], persistent: Callable[[object], object]):
        self.data, self.at = data, 0
        self.known, self.persistent = known, persistent
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        for _ in range(MAX_INSTRUCTIONS):
            code = self._take(1)
            if code == b".":
                return self._pop()
            if code in CONSTANTS:
                self.stack.append(CONSTANTS[code])
            elif code in NUMBERS:
                self.stack.append(self._number(NUMBERS[code]))
            elif code in STRINGS:
                self.stack.append(self._text(self._number(STRINGS[code])))
            elif code in STEPS:
                STEPS[code](self)
            else:
                raise Refused(f"has the instruction {code!r} at byte {self.at - 1}, which no tensor needs")
        raise Refused(f"has more than {MAX_INSTRUCTIONS} instructions")

    def _take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise Refused(f"is cut off after {len(self.data)} bytes")
        self.at += size
        return self.data[self.at - size : self.at]

    def _number(self, form: str) -> int | float:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _text(self, size: int) -> str:
        try:
            return self._take(size).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise Refused(f"has a string that is not UTF-8 before byte {self.at}") from error

    def _line(self) -> str:
        end = self.data.find(b"\n", self.at)
        text = self._text((end if end >= 0 else len(self.data)) - self.at)
        self._take(1)
        return text

    def _pop(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused(f"takes a value that is not there at byte {self.at - 1}")
        return self.stack.pop()

    def _pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise Refused(f"returns to a mark that is not there at byte {self.at - 1}")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def protocol(self) -> None:
        if self._number("<B") not in PROTOCOLS:
            raise Refused(f"must be of protocols {PROTOCOLS[0]} to {PROTOCOLS[-1]}, got {self.data[self.at - 1]}")

    def frame(self) -> None:
        self._take(8)  # only a hint for buffering

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def long(self) -> None:
        self.stack.append(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def empty_list(self) -> None:
        self.stack.append([])

    def empty_dict(self) -> None:
        self.stack.append({})

    def tuple_of(self, size: int | None) -> None:
        values = self._pop_to_mark() if size is None else [self._pop() for _ in range(size)][::-1]
        self.stack.append(tuple(values))

    def put(self, form: str | None) -> None:
        number = len(self.memo) if form is None else self._number(form)
        self.memo[number] = value = self._pop()
        self.stack.append(value)

    def get(self, form: str) -> None:
        number = self._number(form)
        if number not in self.memo:
            raise Refused(f"asks for the value number {number}, which was not kept")
        self.stack.append(self.memo[number])

    def extend(self, many: bool) -> None:
        values = self._pop_to_mark() if many else [self._pop()]
        self._top(list).extend(values)

    def update(self, many: bool) -> None:
        values = self._pop_to_mark() if many else [self._pop() for _ in range(2)][::-1]
        target, keys = self._top(dict), values[::2]
        if len(values) % 2 or not all(type(key) is str or (type(key) is int and abs(key) < MAX_KEY) for key in keys):
            raise Refused(f"has a dictionary whose keys are not strings or integers below {MAX_KEY}")
        target.update(zip(keys, values[1::2], strict=True))

    def _top(self, kind: type) -> object:
        value = self._pop()
        if type(value) is not kind:
            raise Refused(f"treats a {type(value).__name__} as a {kind.__name__} at byte {self.at - 1}")
        self.stack.append(value)
        return value

    def name(self, stacked: bool) -> None:
        words = [self._pop() for _ in range(2)][::-1] if stacked else [self._line(), self._line()]
        if not all(type(word) is str for word in words):
            raise Refused(f"has a global whose name is no string at byte {self.at - 1}")
        module, name = words
        found = self.known.get(f"{module} {name}")
        if found is None:
            hint = "only tensors can be read from it, as torch.save(model.state_dict(), file) writes them"
            raise Refused(f"asks for {module}.{name}: {hint}")
        self.stack.append(found)

    def call(self) -> None:
        arguments, function = self._pop(), self._pop()
        if type(function) is not Known or function.call is None or type(arguments) is not tuple:
            raise Refused(f"calls something that is no function at byte {self.at - 1}")
        try:
            self.stack.append(function.call(*arguments))
        except TypeError as error:  # a wrong number of arguments
            raise Refused(f"calls {function.name} wrongly: {error}") from error

    def build(self) -> None:
        self._pop()  # a dictionary's attributes, such as a state_dict's versions: not needed
        self._top(dict)

    def persistent_id(self) -> None:
        self.stack.append(self.persistent(self._pop()))


CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
STRINGS = {b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q"}
STEPS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine.protocol,
    b"\x95": _Machine.frame,
    b"(": _Machine.mark,
    b"\x8a": _Machine.long,
    b"]": _Machine.empty_list,
    b"}": _Machine.empty_dict,
    b"t": lambda m: m.tuple_of(None),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"q": lambda m: m.put("<B"),
    b"r": lambda m: m.put("<I"),
    b"\x94": lambda m: m.put(None),
    b"h": lambda m: m.get("<B"),
    b"j": lambda m: m.get("<I"),
    b"a": lambda m: m.extend(False),
    b"e": lambda m: m.extend(True),
    b"s": lambda m: m.update(False),
    b"u": lambda m: m.update(True),
    b"c": lambda m: m.name(False),
    b"\x93": lambda m: m.name(True),
    b"R": _Machine.call,
    b"b": _Machine.build,
    b"Q": _Machine.persistent_id,
}
