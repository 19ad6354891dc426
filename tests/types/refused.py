"""Mistakes that a type checker finds: each line that ends in `# error` has one, no other has any.

Checked by tests/types/test_types.py with mypy --strict and pyright; never run.
"""

from __future__ import annotations

from typing import Any

from taskctl import App, AsyncResult, chord, group, shared_task

app = App("shop")


@app.task
def price(article: str, pieces: int = 1) -> float:
    return len(article) * pieces * 1.5


@app.task(bind=True)
def counted(self: Any, text: str) -> int:
    return len(text)


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task(queue="slow")
def shared(number: int) -> str:
    return str(number)


# Arguments that the function does not take.
price()  # error
price.delay()  # error
price.delay(3)  # error
price.delay("tea", piece=2)  # error
price.delay("tea", 2, 3)  # error
counted.delay(None, "word")  # error
fetch.delay(b"https://example.org")  # error
shared.delay("3")  # error
shared("3")  # error

# Signatures: of the arguments that are given, and of all where no more can come.
add.s("2")  # error
add.s(2, 2, 2)  # error
add.s(2, z=2)  # error
add.si(2)  # error
add.si(2, "2")  # error

# What a result is.
text: str = price.delay("tea").get()  # error
number: int = fetch.delay("https://example.org").get()  # error
flag: AsyncResult[bool] = price.delay("tea")  # error
numbers: list[str] = group(add.s(1, 1)).delay().get()  # error
last: str = (add.s(2, 2) | price.s()).delay().get()  # error
joined: str = chord([add.s(1, 1)])(total.s()).get()  # error
words: bytes = fetch("https://example.org")  # error

# What is no option, and what is no task.
price.apply_async(["tea"], kwargs=3)  # error
group(add)  # error
add.s(2, 2) | add  # error


async def in_a_coroutine() -> None:
    await price.adelay(3)  # error
    result = await price.adelay("tea")
    text: str = await result  # error
    async for one in await group(add.s(1, 1)).adelay():
        text = one.get()  # error
    for _ in group(add.s(1, 1)).adelay():  # error
        print(text)
