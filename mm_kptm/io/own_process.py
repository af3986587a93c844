"""A call in a Python process of its own, which imports what the call needs and nothing else.

Memory that a long preparation takes is given back when it ends, and libraries that it does not use, such as torch with
half a gigabyte, are not in the process that takes it. The main script of the caller is not imported again.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from mm_kptm.errors import UserError

_PROGRAM = "import sys; sys.path[:] = {path!r}; from mm_kptm.io.own_process import answer; answer()"
_LENGTH = 8  # bytes of the number of bytes that follow


def call_in_own_process(function: Callable[..., None], *arguments: object, keep_open: Sequence[int] = ()) -> None:
    """Call a function for what it writes; in this process where it or an argument cannot be pickled for another.

    The other process ends when this one does, however that ends.

    Args:
        function: of a module that can be imported.
        arguments: of the call.
        keep_open: file descriptors that the other process holds as well, such as those of locks.

    Raises:
        UserError: as the function.
        RuntimeError: the other process ended in another way, which its own output says.
    """
    content = _pickled(function, arguments)
    if content is None:
        function(*arguments)
        return
    program = _PROGRAM.format(path=[entry or os.getcwd() for entry in sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=tuple(keep_open)
    ) as child:
        assert child.stdin is not None and child.stdout is not None  # pipes were asked for
        try:
            child.stdin.write(len(content).to_bytes(_LENGTH, "little") + content)
            child.stdin.flush()
        except BrokenPipeError:  # it says itself why it ended
            pass
        refusal = child.stdout.read()  # until it ends; its standard input stays open meanwhile
        child.stdin.close()
    if child.returncode == 2 and refusal:
        raise UserError(refusal.decode())
    if child.returncode:
        named = getattr(function, "func", function)  # of a partial
        raise RuntimeError(f"the process of {named.__name__} ended with {child.returncode}")


def answer() -> None:
    """Run the call that stands on standard input; a sentence for the caller goes to standard output."""
    calls, said = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)  # what else is printed
    content = calls.read(int.from_bytes(calls.read(_LENGTH), "little"))
    threading.Thread(target=_end_with_caller, args=(calls.fileno(),), daemon=True).start()
    function, arguments = pickle.loads(content)  # of the process that started this one
    try:
        function(*arguments)
    except UserError as error:
        os.write(said, str(error).encode())
        sys.stdout.flush()
        os._exit(2)
    except KeyboardInterrupt:  # the caller has it too, and speaks of it
        os._exit(130)


def _end_with_caller(pipe: int) -> None:
    """End when the caller closes its end of a pipe, as its death does."""
    while os.read(pipe, 1):
        pass
    os._exit(1)


def _pickled(function: Callable[..., None], arguments: tuple[object, ...]) -> bytes | None:
    try:
        content = pickle.dumps((function, arguments))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return None if b"__main__" in content else content  # names of the caller's script
