"""The private event loop of a sync program."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from stillfresh.services.portal import Portal

variable: ContextVar[str] = ContextVar("variable", default="nothing")


@pytest.fixture
def portal():
    portal = Portal()
    yield portal
    portal.close()
    assert not running()


def running():
    """Tell whether the loop has its thread."""
    return any(thread.name == "stillfresh-loop" for thread in threading.enumerate())


async def where():
    await asyncio.sleep(0)
    return asyncio.get_running_loop(), threading.current_thread()


def test_one_loop_for_all_until_close(portal):
    """It is made when it is needed, kept, ended by `close`, and made anew after that."""
    assert not running()
    loop, thread = portal.run(where())
    assert portal.run(where()) == (loop, thread)
    assert thread is not threading.current_thread()
    portal.close()
    assert loop.is_closed()
    assert not thread.is_alive()
    assert not running()
    assert portal.run(where())[0] is not loop


def test_results_errors_and_context(portal):
    """What the coroutine returns or raises comes back; it sees the caller's context."""

    async def read():
        return variable.get()

    async def fail():
        raise KeyError("inside")

    variable.set("the caller's")
    assert portal.run(read()) == "the caller's"
    with pytest.raises(KeyError, match="inside"):
        portal.run(fail())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_program_reaches_the_caller(portal, kind):
    """A loop ends by it, and would tell nobody; here it is the caller's, and the loop goes on."""

    async def leave():
        raise kind

    with pytest.raises(kind):
        portal.run(leave())
    assert portal.run(where())


def test_close_ends_what_still_runs(portal):
    """Tasks are cancelled and may clean up; async generators and executors are closed."""
    ended = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("task")

    async def items():
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    async def leave():
        leave.task = asyncio.create_task(forever())
        leave.items = items()
        await anext(leave.items)
        await asyncio.to_thread(ended.append, "thread")

    portal.run(leave())
    portal.close()
    assert ended == ["thread", "task", "generator"]
    portal.close()  # twice is once
