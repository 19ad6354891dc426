"""Graphs in the DOT language, drawn as Celery draws them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

#: What every node and edge has, and the colours of each kind: those of Celery 5.7 utils/graph.py.
_SCHEME = {"shape": "box", "arrowhead": "vee", "style": "filled", "fontname": "HelveticaNeue"}
_EDGE = {"color": "darkseagreen4", "arrowcolor": "black", "arrowsize": "0.7"}
_NODE = {"fillcolor": "palegreen3", "color": "palegreen4"}
_END = {"fillcolor": "palegreen1", "color": "palegreen2"}
_KINDS: Mapping[str, Mapping[str, str]] = {
    "broker": {
        "shape": "circle", "fillcolor": "cadetblue3", "color": "cadetblue4", "height": "1",
    },
    "backend": {
        "shape": "folder", "width": "2", "height": "1", "color": "black",
        "fillcolor": "peachpuff3",
    },
    "child": {
        "fillcolor": "lightcyan4", "fontcolor": "yellow", "shape": "oval", "fontsize": "10",
        "width": "0.3", "color": "black",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Vertex:
    """One node of a graph; `needs` are the names its arrows point to.

    `kind`: part, worker, broker, backend or child; `label` is shown in place of the name.
    """

    name: str
    needs: tuple[str, ...] = ()
    kind: str = "part"
    label: str | None = field(default=None)


def dot_lines(vertices: Sequence[Vertex], root: str = "None") -> Iterator[str]:
    """Yield the lines of a graph in DOT."""
    yield "digraph dependencies {"
    yield f"    graph [{_attributes({**_SCHEME, 'bgcolor': 'mintcream', 'root': root})}]"
    for vertex in vertices:
        plain = _NODE if vertex.needs else _END
        scheme = {**plain, **_KINDS.get(vertex.kind, {})}
        if vertex.label is not None:
            scheme["label"] = vertex.label
        yield f"    {_quoted(vertex.name)} [{_attributes({**_SCHEME, **scheme})}]"
        ends = {"arrowhead": "none", "arrowtail": "tee"} if vertex.kind == "child" else {}
        for need in vertex.needs:
            edge = f"{_quoted(vertex.name)} -> {_quoted(need)}"
            yield f"    {edge} [{_attributes({**_SCHEME, **_EDGE, **ends})}]"
    yield "}"


def _attributes(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={_quoted(value)}" for name, value in values.items())


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
