"""What a type checker knows of tasks, calls and results: it finds no error in this file.

Checked by tests/types/test_types.py with mypy --strict and pyright; never run.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

from taskctl import (
    App,
    AsyncResult,
    GroupResult,
    Signature,
    Task,
    chain,
    chord,
    group,
    shared_task,
    signature,
)
from taskctl.core.tasks.decorated import AsyncTask

app = App("shop")


@app.task
def price(article: str, pieces: int = 1) -> float:
    return len(article) * pieces * 1.5


@app.task(queue="mail", max_retries=5)
def mail(to: str, *, subject: str) -> bool:
    return bool(to and subject)


@app.task(bind=True, acks_late=False)
def counted(self: Task[..., Any], text: str) -> int:
    return len(text) + int(self.request.retries)


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(bind=True)
async def fetch_again(self: Task, url: str) -> bytes:
    return await fetch(url)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def tell(request: Any, exc: BaseException, traceback: str) -> None: ...


@app.task(pydantic=True)
def order(model: complex) -> str:
    return str(model)


@shared_task
def shared(number: int) -> str:
    return str(number)


@shared_task(bind=True)
def shared_and_bound(self: Any, number: int) -> str:
    return str(number)


@shared_task(ignore_result=True)
async def shared_and_async(number: int) -> None: ...


# What a decorator makes: parameters without `self`, and the result.
assert_type(mail("you", subject="hello"), bool)
assert_type(counted("word"), int)
assert_type(shared(3), str)

# Calls know the parameters, and results what they are of.
assert_type(price.delay("tea"), AsyncResult[float])
assert_type(price.delay("tea", pieces=2).get(timeout=3), float)
assert_type(mail.delay("you", subject="hello").get(), bool)
assert_type(counted.delay("word").get(), int)
assert_type(fetch.delay("https://example.org").get(), bytes)
assert_type(fetch_again.delay("https://example.org").get(), bytes)
assert_type(shared.delay(3).get(), str)
assert_type(shared_and_bound.delay(3).get(), str)
assert_type(shared_and_async.delay(3), AsyncResult[None])
assert_type(order.delay({"real": 1}).get(), str)
assert_type(price.apply_async(("tea",), {"pieces": 2}, countdown=3), AsyncResult[float])
assert_type(price.apply(("tea",)).get(), float)

# Signatures: with all arguments, with all but the first, with none.
assert_type(add.s(2, 2), Signature[int])
assert_type(add.s(2), Signature[int])
assert_type(add.s(y=2), Signature[int])
assert_type(add.s(), Signature[int])
assert_type(add.si(2, 2), Signature[int])
assert_type(add.signature((2, 2), countdown=10), Signature[int])
assert_type(add.s(2, 2).set(countdown=10), Signature[int])
assert_type(add.s(2, 2).on_error(tell.s()), Signature[int])
assert_type(add.s(2, 2).clone(), Signature[int])
assert_type(add.si(2, 2).apply_async(countdown=10).get(), int)
assert_type(signature(add.s(2, 2)), Signature[int])
assert_type(~add.s(2, 2), int)

# Workflows: a chain gives what its last task does, a group a list, a chord what its body does.
assert_type((add.s(2, 2) | price.s()).delay().get(), float)
assert_type(chain(add.s(2, 2), add.s(4), price.s("tea")).delay().get(), float)
assert_type(group(add.s(i, i) for i in range(10)).delay(), GroupResult[int])
assert_type(group(add.s(1, 1), add.s(2, 2)).apply_async().get(), list[int])
assert_type(group([add.s(1, 1)])().get(), list[int])
assert_type((group(add.s(1, 1), add.s(2, 2)) | total.s()).delay().get(), int)
assert_type(chord([add.s(1, 1), add.s(2, 2)])(total.s()).get(), int)
assert_type(chord([add.s(1, 1)], total.s()).delay().get(), int)
assert_type(add.map([1, 2]).delay().get(), list[int])
assert_type(add.starmap([(1, 2)]).delay().get(), list[int])


async def in_a_coroutine() -> None:
    assert_type(await price.adelay("tea", pieces=2), AsyncResult[float])
    assert_type(await (await price.adelay("tea")), float)
    assert_type(await (await price.aapply_async(("tea",), countdown=3)).aget(timeout=5), float)
    assert_type(await (await fetch.adelay("https://example.org")), bytes)
    coroutine: Coroutine[Any, Any, bytes] = fetch("https://example.org")
    assert_type(await coroutine, bytes)
    assert_type(await (await (add.s(2, 2) | price.s()).adelay()), float)
    results = await group(add.s(i, i) for i in range(10)).adelay()
    assert_type(results, GroupResult[int])
    assert_type(await results, list[int])
    async for result in results:
        assert_type(result, AsyncResult[int])
    async for result in results.as_completed(timeout=5):
        assert_type(result.get(), int)
    assert_type(await app.asend_task("elsewhere", (1,)), AsyncResult[Any])


def for_annotations(task: Task[[int], str], coroutine: AsyncTask[[int], str]) -> AsyncResult[str]:
    """Names without parameters mean any; a task may stand for one that promises less."""
    anything: Task = price
    result: AsyncResult = anything.delay(1, 2, 3)
    less: AsyncResult[object] = price.delay("tea")
    print(result, less, coroutine.delay(3))
    return task.delay(3)
