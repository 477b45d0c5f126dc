"""Notes and their links, as data and as a picture."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aios.syscalls.memory_records import NoteGraph
from aios.telemetry.plots import plotting


def draw_graph(graph: NoteGraph, path: Path) -> None:
    """A PNG: notes as discs (larger: more links; paler: faded; colour: first tag), links as lines.

    Raises ConfigError without matplotlib."""
    plot = plotting()
    places = layout(graph)
    side = min(30.0, 6.0 + 0.9 * len(graph.nodes) ** 0.5)
    figure, axes = plot.subplots(figsize=(side * 1.25, side))
    number = {node.id: i for i, node in enumerate(graph.nodes)}
    degree = np.zeros(len(graph.nodes))
    for edge in graph.edges:
        a, b = number[edge.a], number[edge.b]
        degree[a] += 1
        degree[b] += 1
        axes.plot(*places[[a, b]].T, color="0.6", linewidth=0.5 + 2.5 * edge.strength, alpha=0.7, zorder=1)
    _draw_nodes(plot, axes, graph, places, degree)
    axes.set_title(f"{len(graph.nodes)} notes, {len(graph.edges)} links", fontsize=11)
    axes.axis("off")
    axes.margins(0.12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plot.close(figure)


def layout(graph: NoteGraph) -> NDArray[np.float64]:
    """Places, shape (nodes, 2), by forces (ForceAtlas2: Jacomy et al. 2014): links pull, notes push, the more
    the more links they have, and all are drawn to the middle. The same graph gets the same places."""
    count = len(graph.nodes)
    number = {node.id: i for i, node in enumerate(graph.nodes)}
    places = np.random.default_rng(0).uniform(-1, 1, (count, 2)) * count**0.5
    pairs = np.array([(number[e.a], number[e.b]) for e in graph.edges], np.int64).reshape(-1, 2)
    mass = 1.0 + np.bincount(pairs.ravel(), minlength=count)
    rounds = max(40, min(400, 10**8 // max(1, count**2)))  # each compares all pairs
    for step in range(rounds):
        apart = places[:, None] - places[None]
        distance = np.maximum(np.linalg.norm(apart, axis=2), 1e-2)
        force = (apart * (mass[:, None] * mass / distance**2)[:, :, None]).sum(axis=1)
        force -= 0.5 * mass[:, None] * places
        pull = places[pairs[:, 0]] - places[pairs[:, 1]]
        np.add.at(force, pairs[:, 0], -pull)
        np.add.at(force, pairs[:, 1], pull)
        size = np.maximum(np.linalg.norm(force, axis=1, keepdims=True), 1e-9)
        places += force / size * np.minimum(size / mass[:, None], (1 - step / rounds) * count**0.5 / 8)
    return places


def _draw_nodes(
    plot: Any, axes: Any, graph: NoteGraph, places: NDArray[np.float64], degree: NDArray[Any]
) -> None:
    first = [node.tags[0] if node.tags else "" for node in graph.nodes]
    shared = [tag for tag in dict.fromkeys(first) if tag and first.count(tag) > 1]
    colours = dict(
        zip(sorted(shared, key=first.count, reverse=True)[:9], plot.get_cmap("tab10").colors, strict=False)
    )
    for i, node in enumerate(graph.nodes):
        colour = colours.get(first[i], (0.45, 0.5, 0.55))
        strength = min(1.0, max(0.0, node.strength))
        axes.scatter(*places[i], s=60 + 40 * degree[i], color=colour, alpha=0.25 + 0.7 * strength, zorder=2,
                     edgecolors="white")  # fmt: skip
        if len(graph.nodes) <= 60:
            label = textwrap.shorten(node.text, 44, placeholder=" …")
            axes.annotate(textwrap.fill(label, 24), places[i], xytext=(0, -9), textcoords="offset points",
                          ha="center", va="top", fontsize=6.5, zorder=3)  # fmt: skip
    for tag, colour in colours.items():
        axes.scatter([], [], color=colour, label=tag)
    if colours:
        axes.legend(title="first tag", fontsize=7, title_fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
