"""Between the two formats of a graph: what the editor saves, and what the server runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Info = dict[str, Any]
"""What ``/object_info`` says: node class to its inputs and outputs."""

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "COMFY_DYNAMICCOMBO_V3", "LOAD_3D", "CURVE"}
DECORATION = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
"""What only the editor knows."""
MUTED, BYPASSED = 2, 4


def inputs_of(info: Info, kind: str) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield name, type and options of a node's inputs, in the editor's order."""
    for group in ("required", "optional"):
        for name, spec in info[kind]["input"].get(group, {}).items():
            yield name, spec[0], spec[1] if len(spec) > 1 else {}


def type_name(spec: Any) -> str:
    """Return the type of an input as the editor writes it."""
    return "COMBO" if isinstance(spec, list) else spec


def is_widget(spec: Any, options: dict[str, Any]) -> bool:
    """Return whether an input has a field of its own on the node."""
    return type_name(spec) in WIDGETS and not options.get("forceInput")


def has_seed_control(name: str, spec: Any, options: dict[str, Any]) -> bool:
    """Return whether the editor adds a field after this one that says what becomes of a seed after a run."""
    return type_name(spec) == "INT" and bool(options.get("control_after_generate", name in ("seed", "noise_seed")))


def widget_fields(info: Info, kind: str, values: dict[str, Any] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a node in the order of the editor's ``widgets_values``, with their values or defaults.

    A field that belongs to a choice is named ``choice.field`` and is there only while its choice is made.
    """
    values = values or {}
    for name, spec, options in inputs_of(info, kind):
        if not is_widget(spec, options):
            continue
        default = options.get("default", _first_option(spec, options))
        chosen = values.get(name, default)
        yield name, chosen
        if has_seed_control(name, spec, options):
            yield f"{name}:control", values.get(f"{name}:control", "fixed")
        if type_name(spec) == "COMFY_DYNAMICCOMBO_V3":
            yield from _inner_fields(name, chosen, options, values)


def _inner_fields(name: str, chosen: Any, options: dict, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for option in options["options"]:
        if option["key"] != chosen:
            continue
        for group in option["inputs"].values():
            for inner, spec in group.items():
                default = spec[1].get("default") if len(spec) > 1 else None
                yield f"{name}.{inner}", values.get(f"{name}.{inner}", default)


def _first_option(spec: Any, options: dict[str, Any]) -> Any:
    if isinstance(spec, list):
        return spec[0] if spec else ""
    if type_name(spec) == "COMFY_DYNAMICCOMBO_V3":
        return options["options"][0]["key"]
    if type_name(spec) == "COMBO":
        return (options.get("options") or [""])[0]
    return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(type_name(spec), "")


def to_prompt(workflow: dict[str, Any], info: Info) -> dict[str, Any]:
    """Return what the server runs for a graph that the editor saved."""
    links = {link[0]: link for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in DECORATION or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": _inputs(node, links, info)}
    return prompt


def _inputs(node: dict[str, Any], links: dict[int, list], info: Info) -> dict[str, Any]:
    saved = iter(node.get("widgets_values", []))
    inputs: dict[str, Any] = {}
    for name, default in widget_fields(info, node["type"], _peek(node, info)):
        value = next(saved, default)
        if not name.endswith(":control"):
            inputs[name] = value
    for slot in node.get("inputs", []):
        if slot.get("link") is not None:
            _, source, output, *_ = links[slot["link"]]
            inputs[slot["name"]] = [str(source), output]
    return inputs


def _peek(node: dict[str, Any], info: Info) -> dict[str, Any]:
    """Return a node's fields by name, so that choices are known before the fields that they bring along."""
    values: dict[str, Any] = {}
    while True:
        names = [name for name, _ in widget_fields(info, node["type"], values)]
        found = dict(zip(names, node.get("widgets_values", []), strict=False))
        if found == values:
            return values
        values = found


def slots(info: Info, kind: str, linked: dict[str, int]) -> list[dict[str, Any]]:
    """Return a node's input sockets as the editor writes them; ``linked`` says which link comes into which."""
    found = []
    for name, spec, options in inputs_of(info, kind):
        slot: dict[str, Any] = {"name": name, "type": type_name(spec), "link": linked.get(name)}
        if is_widget(spec, options):
            slot["widget"] = {"name": name}
            if slot["link"] is None:
                continue
        if name in info[kind]["input"].get("optional", {}) and "widget" not in slot:
            slot["shape"] = 7
        found.append(slot)
    return found
