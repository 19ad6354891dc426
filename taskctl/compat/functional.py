"""Functions over functions and collections.  Behaviour: Celery 5.7 utils/functional.py."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def noop(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


def pass1(arg: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the first argument."""
    return arg


class lazy:
    """A call that is made when its value is wanted."""

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._fun, self._args, self._kwargs = fun, args, kwargs

    def evaluate(self) -> Any:
        """Make the call; return its value."""
        return self._fun(*self._args, **self._kwargs)

    __call__ = evaluate

    def __repr__(self) -> str:
        return repr(self())

    def __str__(self) -> str:
        return str(self())

    def __eq__(self, other: object) -> bool:
        return bool(self() == other)

    __hash__ = object.__hash__


def maybe_evaluate(value: Any) -> Any:
    """Return the value of a `lazy`, anything else as it is."""
    return value.evaluate() if isinstance(value, lazy) else value


def is_list(obj: Any, scalars: Any = (Mapping, str), iters: Any = (Iterable,)) -> bool:
    """Return whether this is a collection, and no text or mapping."""
    return isinstance(obj, iters) and not isinstance(obj, scalars or ())


def maybe_list(obj: Any, scalars: Any = (Mapping, str)) -> Any:
    """Return a collection as it is, one thing in a list, None as None."""
    return obj if obj is None or is_list(obj, scalars) else [obj]


def dictfilter(d: Mapping[Any, Any] | None = None, **kw: Any) -> dict[Any, Any]:
    """Return the items that are not None."""
    return {k: v for k, v in {**(d or {}), **kw}.items() if v is not None}


def first(predicate: Callable[[Any], Any] | None, it: Iterable[Any]) -> Any:
    """Return the first item that the predicate takes (that is not None, without one), or None."""
    taken = predicate or (lambda value: value is not None)
    return next((value for value in it if taken(value)), None)


def chunks(it: Iterable[Any], n: int) -> Iterator[list[Any]]:
    """Yield lists of `n` items of an iterator."""
    rest = iter(it)
    while part := list(itertools.islice(rest, n)):
        yield part


def padlist(container: Iterable[Any], size: int, default: Any = None) -> list[Any]:
    """Return the first `size` items, filled up with `default`."""
    found = list(itertools.islice(container, size))
    return found + [default] * (size - len(found))


def mattrgetter(*attrs: str) -> Callable[[Any], dict[str, Any]]:
    """Return a function that reads attributes into a dict; None for those not there."""
    return lambda obj: {name: getattr(obj, name, None) for name in attrs}


def uniq(it: Iterable[Any]) -> Iterator[Any]:
    """Yield each item the first time it comes."""
    return iter(dict.fromkeys(it))


def lookahead(it: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each item with the one after it; None after the last."""
    return itertools.pairwise(itertools.chain(it, (None,)))


def maybe(typ: type, val: Any) -> Any:
    """Return `typ(val)`, None as None."""
    return None if val is None else typ(val)


def fun_accepts_kwargs(fun: Callable[..., Any]) -> bool:
    """Return whether a function takes any keyword."""
    kinds = (p.kind for p in inspect.signature(fun).parameters.values())
    return inspect.Parameter.VAR_KEYWORD in kinds


def fun_takes_argument(name: str, fun: Callable[..., Any], position: int | None = None) -> bool:
    """Return whether a function takes an argument of this name, or so many by position."""
    parameters = inspect.signature(fun).parameters.values()
    kinds = {p.kind for p in parameters}
    if kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}:
        return True
    if position is not None and len(parameters) >= position:
        return True
    return any(p.name == name for p in parameters)


def seq_concat_item(seq: Any, item: Any) -> Any:
    """Return a list or tuple with one more item, of the same kind."""
    return seq + type(seq)((item,))


def seq_concat_seq(a: Any, b: Any) -> Any:
    """Return two sequences as one, of the kind of the longer."""
    kind = type(a) if len(a) >= len(b) else type(b)
    return kind((*a, *b))


def is_numeric_value(value: Any) -> bool:
    """Return whether this is a number, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def lpmerge(left: dict[Any, Any], right: Mapping[Any, Any]) -> dict[Any, Any]:
    """Put into `left` what is not None in `right`; return it."""
    left.update((k, v) for k, v in right.items() if v is not None)
    return left


class AttributeDict(dict[str, Any]):
    """A dict whose keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class _Attributes(Mapping[str, Any]):
    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self.obj, key)
        except AttributeError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self.obj))

    def __len__(self) -> int:
        return len(vars(self.obj))


def force_mapping(m: Any) -> Any:
    """Return a mapping as it is, any other object as a mapping of its attributes."""
    return m if isinstance(m, Mapping) else _Attributes(m)


class LRUCache(OrderedDict[Any, Any]):
    """A dict that forgets what was not used for longest, beyond `limit` items."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.mutex = threading.RLock()

    def __getitem__(self, key: Any) -> Any:
        with self.mutex:
            value = super().__getitem__(key)
            self.move_to_end(key)
            return value

    def __setitem__(self, key: Any, value: Any) -> None:
        with self.mutex:
            super().__setitem__(key, value)
            self.move_to_end(key)
            while self.limit and len(self) > self.limit:
                self.popitem(last=False)


_UNITS = ((2**40, "TB"), (2**30, "GB"), (2**20, "MB"), (2**10, "KB"))


def hfloat(f: float, p: int = 5) -> str:
    """Return a number as people write it; a whole one without a point."""
    return str(int(f)) if f == int(f) else f"{f:.{p}}"


def humanbytes(s: int) -> str:
    """Return a size in the unit that fits."""
    for size, unit in _UNITS:
        if s >= size:
            return f"{hfloat(s / size)}{unit}"
    return f"{s}b"
