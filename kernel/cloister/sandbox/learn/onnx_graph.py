"""ONNX: a fitted model as a graph of standard operators, with one input per feature.

Numbers, conditions and bins are inputs of doubles (rows by 1; NaN is missing), categories of texts (``""`` is missing).
The graph encodes them as ``encoding.py`` does and scores them with the numbers of ``scoring.py``, in doubles:

* ``number``: output ``prediction``; ``points``: output ``points`` (whole numbers as doubles);
* ``log odds`` and ``classes``: outputs ``label`` and ``probabilities``; of a condition the label is a bool;
* ``nearest``: output ``label`` (the number of the centre); ``components``: output ``components``.

A missing value that the model has no indicator for makes numbers and probabilities NaN.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from cloister.contract.card import OTHER
from cloister.errors import EXTRA, RefusedError
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn import words
from cloister.sandbox.learn.document import digest
from cloister.sandbox.learn.features import Feature, columns
from cloister.sandbox.learn.scoring import Scores, scores_of

OPSET = 21
IR_VERSION = 10


def serialized(document: k.Document) -> bytes:
    """Return the bytes of an ``.onnx`` file.

    Raises:
        RefusedError: ``install.extra``: the package ``onnx`` is not installed.
    """
    try:
        import onnx  # noqa: PLC0415 (an optional package)
    except ModuleNotFoundError as error:
        raise RefusedError(
            "install.extra", "exports to ONNX need the package onnx", next_step=EXTRA.format("onnx")
        ) from error
    graph = _Graph(onnx)
    scores = scores_of(document)
    encoded = graph.node("Concat", *(graph.feature(feature) for feature in document.features), axis=1)
    outputs = graph.outputs(document, scores, graph.scores(encoded, scores))
    made = onnx.helper.make_graph(graph.nodes, "cloister", graph.inputs, outputs, graph.constants)
    model = onnx.helper.make_model(
        made,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="cloister",
        doc_string=f"{words.purpose(document)}; {document.mode}; encoded columns: "
        + ", ".join(column.name for column in columns(document.features)),
    )
    facts = {
        "cloister.kind": type(document).__name__,
        "cloister.mode": document.mode,
        "cloister.document": digest(document),
        "cloister.algorithm": f"{document.algorithm.name}@{document.algorithm.version} {document.algorithm.code}",
        "cloister.receipt": document.provenance.receipt,
    }
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


class _Graph:
    """Nodes, inputs and constants of a graph under construction; names count up."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, kind: Any = np.float64) -> str:
        """Add a constant; return its name."""
        name = f"c{len(self.constants)}"
        array = np.array(values, dtype=object if kind is str else kind)
        self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def feature(self, feature: Feature) -> str:
        """Add the input of a feature; return its encoded columns, rows by columns."""
        textual = feature.kind in {"category", "levels"}
        proto = self._onnx.TensorProto
        self.inputs.append(
            self._onnx.helper.make_tensor_value_info(
                feature.name, proto.STRING if textual else proto.DOUBLE, ["rows", 1]
            )
        )
        gone = self._equal(feature.name, [""], str) if textual else self.node("IsNaN", feature.name)
        found = self._levels(feature, gone) if textual else self._numbers(feature, gone)
        if feature.fill is not None:
            return self.node("Concat", found, self._double(gone), axis=1)
        return self.node("Where", gone, self.constant([[np.nan]]), found)

    def _numbers(self, feature: Feature, gone: str) -> str:
        name = feature.name
        match feature.kind:
            case "flag":
                return self._double(self._equal(name, [0.0, 1.0], np.float64))
            case "bins":
                ends = [column.ends for column in columns((feature,)) if column.role == "bin"]
                low = self.constant([[-np.inf if end[0] is None else float(end[0]) for end in ends]])
                high = self.constant([[np.inf if end[1] is None else float(end[1]) for end in ends]])
                above, below = self.node("GreaterOrEqual", name, low), self.node("Less", name, high)
                return self._double(self.node("And", above, below))
            case _:
                filled = "nan" if feature.fill is None else feature.fill
                value = np.nan if filled == "nan" else float(Fraction(filled))
                return self.node("Where", gone, self.constant([[value]]), name)

    def _levels(self, feature: Feature, gone: str) -> str:
        shown = [column.level for column in columns((feature,)) if column.role == "level"]
        listed = [level for level in shown if level != OTHER]
        found = self._double(self._equal(feature.name, listed, str))
        if OTHER not in shown:
            return found
        # Whatever is neither listed nor missing.
        known = self.node("ReduceSum", found, self.constant([1], np.int64), keepdims=1)
        other = self.node("Sub", self.node("Sub", self.constant([[1.0]]), known), self._double(gone))
        both = self.node("Concat", found, other, axis=1)
        order = [shown.index(level) for level in [*listed, OTHER]]
        return self.node("Gather", both, self.constant(np.argsort(order), np.int64), axis=1)

    def _equal(self, name: str, values: list[Any], kind: Any) -> str:
        return self.node("Equal", name, self.constant([values], kind))

    def _double(self, name: str) -> str:
        return self.node("Cast", name, to=self._onnx.TensorProto.DOUBLE)

    def scores(self, encoded: str, scores: Scores) -> str:
        """Return the scores, rows by outputs."""

        def turned(rows: Any) -> str:
            return self.constant(np.array([[float(value) for value in row] for row in rows]).T)

        found = self.node("MatMul", encoded, turned(scores.weights))
        found = self.node("Add", found, self.constant([[float(value) for value in scores.offsets]]))
        if scores.squares:
            squared = self.node("MatMul", self.node("Mul", encoded, encoded), turned(scores.squares))
            found = self.node("Add", found, squared)
        return found

    def outputs(self, document: k.Document, scores: Scores, found: str) -> list[Any]:
        """Add what makes predictions of scores; return the outputs."""
        proto, rule = self._onnx.TensorProto, scores.rule
        if rule in {"number", "points", "components"}:
            name = {"number": "prediction"}.get(rule, rule)
            shape = ["rows", len(scores.labels)] if rule == "components" else ["rows"]
            self._last("Identity" if rule == "components" else "Reshape", name, found, rule != "components")
            return [self._onnx.helper.make_tensor_value_info(name, proto.DOUBLE, shape)]
        if rule == "log odds":
            found = self.node("Concat", self.node("Sub", found, found), found, axis=1)
        best = self.node("ArgMax", found, axis=1, keepdims=0)
        if rule == "nearest":
            self.nodes.append(self._onnx.helper.make_node("Identity", [best], ["label"]))
            return [self._onnx.helper.make_tensor_value_info("label", proto.INT64, ["rows"])]
        classes = words.classes(document)
        kind, values = (proto.BOOL, [False, True]) if classes.condition else (proto.STRING, list(classes.labels))
        table = self.constant(values, np.bool_ if classes.condition else str)
        self.nodes.append(self._onnx.helper.make_node("Gather", [table, best], ["label"], axis=0))
        self.nodes.append(self._onnx.helper.make_node("Softmax", [found], ["probabilities"], axis=1))
        return [
            self._onnx.helper.make_tensor_value_info("label", kind, ["rows"]),
            self._onnx.helper.make_tensor_value_info("probabilities", proto.DOUBLE, ["rows", len(classes.labels)]),
        ]

    def _last(self, operator: str, name: str, found: str, flat: bool) -> None:
        more = [self.constant([-1], np.int64)] if flat else []
        self.nodes.append(self._onnx.helper.make_node(operator, [found, *more], [name]))
