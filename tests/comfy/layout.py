"""Lay an example graph out in the format that the editor saves."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from .editor import Info, inputs_of, is_widget, slots, widget_fields
from .graphs import Column, Node

GAP, TITLE, ROW, FIELD = 50, 34, 22, 26
"""Pixels between nodes, and the height of a title, a socket and a field."""
COLOURS = ("#3f5159", "#3f789e", "#8a8a3f", "#3f8a5c", "#8a5c3f", "#6b3f8a", "#8a3f5c")
PICTURES = {
    "LoadImage": 300,
    "LoadVideo": 300,
    "LoadAudio": 60,
    "SaveVideo": 320,
    "SaveImage": 280,
    "MGGLoadPortrait": 150,
    "MGGDepthBINI": 190,
    "MGGSymmetricGeometry": 190,
    "MGGMotionFromVideo": 170,
    "MGGMotionFromAudio": 170,
    "MGGExpressionRig": 170,
    "MGGSplatRender": 180,
    "MGGInpaint": 180,
    "MGGTalkingVideo": 400,
    "PreviewGaussianSplat": 420,
}
"""Room for what a node shows, in pixels."""


def height_of(node: Node, info: Info) -> int:
    """Return a height that shows everything on a node."""
    if node.height is not None:
        return node.height
    inputs = list(inputs_of(info, node.kind))
    widgets = {name: options for name, spec, options in inputs if is_widget(spec, options)}
    sockets = max(len(inputs) - len(widgets), len(info[node.kind]["output"]))
    # Of a rig's rare sliders only those that are used are shown, and a button for the others.
    folded = node.kind == "MGGExpressionRig"
    away = {name for name, options in widgets.items() if folded and options.get("advanced") and name not in node.values}
    fields = len(widgets) - len(away) + folded
    return TITLE + ROW * sockets + FIELD * fields + PICTURES.get(node.kind, 10)


def _values(node: Node, info: Info) -> list[Any]:
    if node.kind == "MarkdownNote":
        return [node.values[""]]
    known = {name for name, _ in widget_fields(info, node.kind, node.values)}
    unknown = set(node.values) - known
    if unknown:
        raise ValueError(f"{node.kind} has no {', '.join(sorted(unknown))}")
    return [value for _, value in widget_fields(info, node.kind, node.values)]


class _Wires:
    """Numbers nodes and links, and finds the outputs that links come from."""

    def __init__(self, nodes: Sequence[Node], info: Info) -> None:
        self.number = {node.name: place for place, node in enumerate(nodes, 1)}
        self.kind = {node.name: node.kind for node in nodes}
        self.info = info
        self.links: list[list[Any]] = []
        for node in nodes:
            for target, source in node.links.items():
                self._connect(node, target, *source.split("."))

    def _connect(self, node: Node, target: str, source: str, output: str) -> None:
        names = [name for name, _, _ in inputs_of(self.info, node.kind)]
        sockets = [slot["name"] for slot in slots(self.info, node.kind, dict.fromkeys(node.links, 0))]
        if target not in names:
            raise ValueError(f"{node.kind} has no input {target}")
        place = self.info[self.kind[source]]["output_name"].index(output)
        kind = self.info[self.kind[source]]["output"][place]
        ends = [self.number[source], place, self.number[node.name], sockets.index(target)]
        self.links.append([len(self.links) + 1, *ends, kind])

    def into(self, node: Node) -> dict[str, int]:
        """Return the number of the link into each linked input."""
        mine = [link for link in self.links if link[3] == self.number[node.name]]
        return dict(zip(node.links, (link[0] for link in mine), strict=True))

    def outputs(self, node: Node) -> list[dict[str, Any]]:
        """Return a node's output sockets as the editor writes them."""
        described = self.info[node.kind]
        found = []
        for place, (name, kind) in enumerate(zip(described["output_name"], described["output"], strict=True)):
            leaving = [link[0] for link in self.links if link[1:3] == [self.number[node.name], place]]
            found.append({"name": name, "type": kind, "links": leaving})
        return found


def lay_out(name: str, columns: Sequence[Column], info: Info) -> dict[str, Any]:
    """Return the graph as the editor would have saved it."""
    nodes = [node for column in columns for node in column.nodes]
    wires = _Wires(nodes, info)
    placed, groups = [], []
    for column, left in zip(columns, _lefts(columns), strict=True):
        top = 0
        for node in column.nodes:
            placed.append(_node(node, wires, info, (left, top), (column.width, height_of(node, info))))
            top += placed[-1]["size"][1] + GAP + TITLE
        groups.append(_group(len(groups), column, left, top))
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"mggtalk/{name}")),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(wires.links),
        "nodes": placed,
        "links": wires.links,
        "groups": groups,
        "config": {},
        "extra": {"ds": {"scale": 0.7, "offset": [80, 120]}},
        "version": 0.4,
    }


def _lefts(columns: Sequence[Column]) -> Iterator[int]:
    left = 0
    for column in columns:
        yield left
        left += column.width + 2 * GAP


def _group(place: int, column: Column, left: int, bottom: int) -> dict[str, Any]:
    box = [left - 20, -90, column.width + 40, bottom + 60]
    colour = COLOURS[place % len(COLOURS)]
    return {"id": place + 1, "title": column.title, "bounding": box, "color": colour, "font_size": 24, "flags": {}}


def _node(node: Node, wires: _Wires, info: Info, place: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    written: dict[str, Any] = {
        "id": wires.number[node.name],
        "type": node.kind,
        "pos": list(place),
        "size": list(size),
        "flags": {},
        "order": wires.number[node.name] - 1,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": _values(node, info),
    }
    if node.kind != "MarkdownNote":
        written["inputs"] = slots(info, node.kind, wires.into(node))
        written["outputs"] = wires.outputs(node)
        written["properties"] = {"Node name for S&R": node.kind}
    if node.title:
        written["title"] = node.title
    return written
