"""Tasks that take and return pydantic models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, ValidationInfo, field_validator

from taskctl import App
from taskctl.core.errors import EncodeError, ImproperlyConfigured

from ..support.draining import drain


class Order(BaseModel):
    number: int
    note: str = ""


class Rush(Order):
    hours: int = 1


class Told(BaseModel):
    value: int

    @field_validator("value")
    @classmethod
    def note(cls, value: int, info: ValidationInfo) -> int:
        assert info.context is not None
        contexts.append(info.context)
        return value


contexts: list[dict[str, Any]] = []


@pytest.fixture
def app() -> Iterator[App]:
    app = App("models", broker="memory://", backend="memory://", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def order(app: App) -> Any:
    @app.task(pydantic=True, name="order", shared=False)
    def order(first: Order, second: Order | None = None) -> Order:
        assert isinstance(first, Order)
        return Order(number=first.number + (second.number if second else 0))

    return order


def test_a_model_travels_as_plain_data_and_arrives_as_a_model(app: App, order: Any) -> None:
    result = order.delay(Order(number=2), second=Order(number=3))

    drain(app)

    assert result.get(timeout=5) == {"number": 5, "note": ""}


@pytest.mark.parametrize("second", [None, {"number": "4"}])
def test_what_is_plain_already_is_made_a_model(order: Any, second: Any) -> None:
    assert order.apply(({"number": 1}, second)).get()["number"] == (1 if second is None else 5)


def test_arguments_that_are_no_such_model_fail_the_task(app: App, order: Any) -> None:
    result = order.delay({"number": "many"})

    drain(app)

    assert result.state == "FAILURE"
    assert "ValidationError" in result.traceback
    assert isinstance(order.apply((None,)).result, ValidationError)


def test_a_model_that_would_come_back_as_another_is_not_sent(order: Any) -> None:
    with pytest.raises(EncodeError, match="argument first cannot be sent as json"):
        order.delay(Rush(number=1))


def test_a_bound_task_and_a_coroutine_take_models_too(app: App) -> None:
    @app.task(pydantic=True, bind=True, name="bound", shared=False)
    def bound(self: Any, order: Order) -> Order:
        return Rush(number=order.number, note=self.name)

    @app.task(pydantic=True, name="awaited", shared=False)
    async def awaited(order: Order) -> Order:
        return order

    first = bound.delay(Order(number=1))
    second = awaited.delay(Order(number=2))
    drain(app)

    assert first.get(timeout=5) == {"number": 1, "note": "bound", "hours": 1}
    assert second.get(timeout=5) == {"number": 2, "note": ""}


def test_strictness_context_and_how_models_are_dumped_can_be_said(app: App) -> None:
    @app.task(pydantic=True, pydantic_strict=True, name="strict", shared=False)
    def strict(order: Order) -> None: ...

    @app.task(pydantic=True, pydantic_context={"shop": 3}, name="told", shared=False)
    def told(what: Told) -> int:
        return what.value

    @app.task(
        pydantic=True, pydantic_dump_kwargs={"exclude_defaults": True}, name="short", shared=False
    )
    def short(order: Order) -> Order:
        return order

    assert isinstance(strict.apply(({"number": "1"},)).result, ValidationError)
    assert told.apply(({"value": 1},)).get() == 1
    assert contexts[-1] == {"shop": 3, "celery_app": app, "celery_task_name": "told"}
    assert short.apply(({"number": 1},)).get() == {"number": 1}


def test_a_retry_sends_what_the_task_was_sent(app: App) -> None:
    seen: list[Order] = []

    @app.task(pydantic=True, bind=True, name="again", shared=False)
    def again(self: Any, order: Order) -> None:
        seen.append(order)
        if not self.request.retries:
            self.retry(countdown=0)

    again.delay(Order(number=7))
    drain(app)

    assert seen == [Order(number=7)] * 2


def test_without_pydantic_the_error_names_what_to_install(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)

    @app.task(pydantic=True, name="lacking", shared=False)
    def lacking(order: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match=r"pip install 'taskctl\[pydantic\]'"):
        lacking.delay({})
