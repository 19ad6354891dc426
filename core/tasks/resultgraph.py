"""Which result came from which: the tree of a result and its children, to walk or to draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TextIO


class ResultGraph:
    """Nodes and, for each, those it made; a node is anything with a hash."""

    def __init__(self) -> None:
        self._made: dict[Any, list[Any]] = {}

    def add_arc(self, node: Any) -> None:
        """Add a node."""
        self._made.setdefault(node, [])

    def add_edge(self, parent: Any, child: Any) -> None:
        """Say that `parent` made `child`; the parent must have been added."""
        self._made[parent].append(child)

    def edges(self) -> set[Any]:
        """Return the nodes that made others."""
        return {node for node, children in self._made.items() if children}

    def items(self) -> Iterator[tuple[Any, list[Any]]]:
        """Yield each node with those it made, in the order they were added."""
        return iter(self._made.items())

    def topsort(self) -> list[Any]:
        """Return the nodes, each behind all that it made."""
        order: dict[Any, None] = {}
        todo = [(node, iter(self._made.get(node, ()))) for node in reversed(list(self._made))]
        while todo:
            node, children = todo.pop()
            if node in order:
                continue
            child = next(children, None)
            if child is None:
                order[node] = None
            else:
                todo.append((node, children))
                todo.append((child, iter(self._made.get(child, ()))))
        return list(order)

    def to_dot(self, out: TextIO) -> None:
        """Write the graph in the language of Graphviz."""
        out.write("digraph results {\n")
        for node, children in self._made.items():
            out.write(f"    {_quoted(node)} [shape=oval]\n")
            for child in children:
                out.write(f"    {_quoted(node)} -> {_quoted(child)}\n")
        out.write("}\n")

    def __contains__(self, node: object) -> bool:
        return node in self._made

    def __getitem__(self, node: Any) -> list[Any]:
        return self._made[node]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _quoted(node: Any) -> str:
    text = str(node).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
