"""The environment that chat templates run in: Jinja's immutable sandbox, with a limit on all that they make."""

import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import jinja2
import jinja2.compiler
import jinja2.nodes
import jinja2.runtime
import jinja2.sandbox
from jinja2.sandbox import SecurityError
from markupsafe import Markup

from bitconverter.model.template_account import ACCOUNT, check_numbers, made, text_size, weigh
from bitconverter.model.template_limits import check_binop, check_method, checked_filter

WIDTH_LIMIT = 10_000  # of one formatted field
REMOVED_FILTERS = ("pprint", "urlize", "wordwrap", "xmlattr")


class _Formatter(jinja2.sandbox.SandboxedFormatter):
    """str.format that looks at every field's width and size before it is written."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        if len(format_spec) > 100 or any(int(n) > WIDTH_LIMIT for n in re.findall(r"\d+", format_spec)):
            raise SecurityError("the width of a field is too large")
        ACCOUNT.spend(text_size(value))
        return made(super().format_field(value, format_spec))

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion is not None:
            ACCOUNT.check(text_size((value,)))
            return made(super().convert_field(value, conversion), (value,))
        return value


class _CodeGenerator(jinja2.compiler.CodeGenerator):
    """Sends what Jinja's own writes as plain Python (`~`, literals, slices) through the account."""

    def _output_child_to_const(self, node: jinja2.nodes.Expr, frame: Any, finalize: Any) -> str:
        if isinstance(node, jinja2.nodes.TemplateData):
            return super()._output_child_to_const(node, frame, finalize)
        raise jinja2.nodes.Impossible

    def visit_Concat(self, node: jinja2.nodes.Concat, frame: Any) -> None:
        self.write("environment.join_values((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def _charged(self, visit: Callable[[Any, Any], None], node: Any, frame: Any) -> None:
        self.write("environment.made(")
        visit(node, frame)
        self.write(")")

    def visit_List(self, node: jinja2.nodes.List, frame: Any) -> None:
        self._charged(super().visit_List, node, frame)

    def visit_Dict(self, node: jinja2.nodes.Dict, frame: Any) -> None:
        self._charged(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: jinja2.nodes.Tuple, frame: Any) -> None:
        if node.ctx == "load":
            self._charged(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Getitem(self, node: jinja2.nodes.Getitem, frame: Any) -> None:
        if isinstance(node.arg, jinja2.nodes.Slice):
            self._charged(super().visit_Getitem, node, frame)
        else:
            super().visit_Getitem(node, frame)

    def visit_EvalContextModifier(self, node: jinja2.nodes.EvalContextModifier, frame: Any) -> None:
        self.fail("autoescape is not available", node.lineno)


def _finalize(value: Any) -> Any:
    """Everything that is written passes here."""
    ACCOUNT.spend(text_size(value))
    return value


class LimitedEnvironment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Jinja's sandbox with the account. ACCOUNT.open() comes before each rendering."""

    code_generator_class = _CodeGenerator
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    made = staticmethod(made)

    def __init__(self, **options: Any) -> None:
        super().__init__(optimized=False, finalize=_finalize, **options)
        del self.globals["lipsum"]
        for name in REMOVED_FILTERS:
            del self.filters[name]

    def limit_filters(self) -> None:
        """To be called when all filters are there."""
        self.filters.update({name: checked_filter(name, f) for name, f in self.filters.items()})

    def join_values(self, values: tuple[Any, ...]) -> str:
        """`a ~ b ~ c`."""
        ACCOUNT.check(sum(text_size(value) for value in values))
        return str(made("".join(map(str, values))))

    def concat(self, pieces: Any) -> str:
        """The text of a macro or a block."""
        pieces = list(self._counted(pieces))
        ACCOUNT.check(sum(map(len, pieces)))
        return str(made("".join(pieces)))

    def _counted(self, pieces: Any) -> Iterator[str]:
        for piece in pieces:
            ACCOUNT.spend(8)
            yield piece

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        name = getattr(value, "__name__", "")
        if not isinstance(value, types.MethodType | types.BuiltinMethodType) or name not in (
            "format",
            "format_map",
        ):
            return None
        text = value.__self__
        if not isinstance(text, str):
            return None
        if isinstance(text, Markup):
            raise SecurityError("escaped text cannot be formatted")

        def write(*args: Any, **kwargs: Any) -> str:
            if name == "format_map":
                (kwargs,), args = args, ()
            return _Formatter(self).vformat(text, args, kwargs)

        return write

    def call(__self, __context: jinja2.runtime.Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        check_numbers((*args, *kwargs.values()))
        weigh(*args, *kwargs.values())  # a macro makes lists of them: varargs, kwargs
        owner = getattr(__obj, "__self__", None)
        values = list(args)
        if isinstance(owner, str):
            check_method(getattr(__obj, "__name__", ""), owner, values, kwargs)
        return made(super().call(__context, __obj, *values, **kwargs), (owner, *values, *kwargs.values()))

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        check_binop(operator, left, right)
        return made(super().call_binop(context, operator, left, right))
