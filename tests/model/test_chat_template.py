"""Chat templates render byte for byte as transformers renders them, and a bad one is refused with its reason.

The golden texts come from tools/make_golden_templates.py; tests/golden/templates/SOURCES.md says what they are.
"""

import json
import time
import tracemalloc
from datetime import datetime
from pathlib import Path

import pytest

from bitconverter.format.errors import UserError
from bitconverter.model import chat_template
from bitconverter.model.chat_template import ChatTemplate, load_chat_template

GOLDEN = Path(__file__).parents[1] / "golden" / "templates"


def read(name: str) -> dict:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


EXPECTED, DIALOGUES, TOKENS = read("expected.json"), read("dialogues.json"), read("special_tokens.json")
NOW = datetime(2024, 7, 26, 12)
HELLO = [{"role": "user", "content": "Hello."}]


def test_there_are_at_least_fourteen_templates_and_six_dialogues_and_each_has_a_golden_text() -> None:
    templates = {path.stem if path.suffix == ".jinja" else "" for path in GOLDEN.glob("*.jinja")}
    assert templates == set(EXPECTED) == set(TOKENS) and len(templates) >= 14
    assert len(DIALOGUES) >= 6 and all(set(texts) == set(DIALOGUES) for texts in EXPECTED.values())


@pytest.mark.parametrize("dialogue", DIALOGUES)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_template_renders_what_transformers_renders(name: str, dialogue: str) -> None:
    template = ChatTemplate((GOLDEN / f"{name}.jinja").read_text(encoding="utf-8"), TOKENS[name])
    asked, expected = DIALOGUES[dialogue], EXPECTED[name][dialogue]
    prompt = asked.get("add_generation_prompt", True)
    if "error" in expected:
        with pytest.raises(UserError) as caught:
            template.render(asked["messages"], add_generation_prompt=prompt, now=NOW)
        assert caught.value.code == "chat-template-refused"
        assert caught.value.fields["reason"] == expected["error"]
    else:
        assert template.render(asked["messages"], add_generation_prompt=prompt, now=NOW) == expected["text"]


def test_a_variable_of_the_caller_wins_over_the_folder() -> None:
    source = (GOLDEN / "llama-3.2.jinja").read_text(encoding="utf-8")
    text = ChatTemplate(source, {"bos_token": "<s>"}).render(HELLO, date_string="1 Jan 2030", bos_token="<b>")
    assert text.startswith("<b>") and "Today Date: 1 Jan 2030" in text


def test_the_clock_is_the_real_one_when_none_is_given() -> None:
    before = datetime.now()
    text = ChatTemplate("{{ strftime_now('%Y-%m-%d %H:%M:%S') }}").render(HELLO)
    assert before.replace(microsecond=0) <= datetime.strptime(text, "%Y-%m-%d %H:%M:%S") <= datetime.now()


def test_json_in_a_template_is_plain_and_not_escaped() -> None:
    value = {"b": "<é&日本>", "a": [1, None]}
    assert ChatTemplate("{{ v | tojson }}").render(HELLO, v=value) == '{"b": "<é&日本>", "a": [1, null]}'
    indented = ChatTemplate("{{ v | tojson(indent=1, sort_keys=true) }}").render(HELLO, v=value)
    assert indented == json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)


def test_loop_controls_and_the_generation_tag_work() -> None:
    source = (
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
        "{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    )
    assert ChatTemplate(source).render(HELLO) == "023"
    assert (
        ChatTemplate("a{% generation %}b{{ messages[0].content }}{% endgeneration %}").render(HELLO)
        == "abHello."
    )


# ---- where the template comes from ----


def write(folder: Path, name: str, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    (folder / name).write_text(text, encoding="utf-8")


def test_the_template_is_found_in_every_place_and_the_own_file_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        "tokenizer_config.json",
        {"chat_template": "config 日本 {{ bos_token }}", "bos_token": "<s>"},
    )
    assert load_chat_template(tmp_path).render(HELLO) == "config 日本 <s>"
    write(tmp_path, "chat_template.json", {"chat_template": "json {{ bos_token }}"})
    assert load_chat_template(tmp_path).render(HELLO) == "json <s>"
    write(tmp_path, "chat_template.jinja", "jinja {{ bos_token }}")
    assert load_chat_template(tmp_path).render(HELLO) == "jinja <s>"


def test_of_several_named_templates_the_default_is_taken(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "default"}]
    write(tmp_path, "tokenizer_config.json", {"chat_template": named})
    assert load_chat_template(tmp_path).render(HELLO) == "default"


@pytest.mark.parametrize(
    "config", [None, {}, {"chat_template": None}, {"chat_template": [{"name": "tool_use"}]}]
)
def test_a_model_without_a_template_is_refused_with_advice(tmp_path: Path, config: dict | None) -> None:
    if config is not None:
        write(tmp_path, "tokenizer_config.json", config)
    with pytest.raises(UserError, match=r"chat_template\.jinja") as caught:
        load_chat_template(tmp_path)
    assert caught.value.code == "no-chat-template"


@pytest.mark.parametrize("content", ["{", "[1]", '"x"', "[" * 100_000])
def test_a_damaged_tokenizer_config_is_named(tmp_path: Path, content: str) -> None:
    write(tmp_path, "tokenizer_config.json", content)
    with pytest.raises(UserError, match=r"tokenizer_config\.json") as caught:
        load_chat_template(tmp_path)
    assert caught.value.code == "damaged-file"


def test_a_template_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"chat_template\.jinja") as caught:
        load_chat_template(tmp_path)
    assert caught.value.code == "chat-template-broken"


# ---- broken and hostile templates ----


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}", "{{ messages", "{% for x in y %}", "{% nonsense %}", "{{ 'a' | nofilter }}",
        # what only Python's own compiler refuses
        "{% if messages %}" * 110 + "{% endif %}" * 110, "{% for i in messages %}" * 25 + "{% endfor %}" * 25,
        "{% break %}", "{{ dict(a=1, a=2) }}", "{{ " + "9" * 5000 + " }}",
    ],
)  # fmt: skip
def test_a_template_that_does_not_compile_is_refused(source: str) -> None:
    with pytest.raises(UserError) as caught:
        ChatTemplate(source)
    assert caught.value.code == "chat-template-broken"


@pytest.mark.parametrize(
    "source",
    [
        "{{ missing.attribute }}",
        "{{ messages + 1 }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ namespace.__init__.__globals__ }}",
        "{% set n = namespace(_x=1) %}",
        "{{ dict.__class__.__bases__ }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{% include 'other' %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 9 ** 999999 }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ ('x' * 900000).replace('x', 'y' * 900000) }}",
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    ],
)  # fmt: skip
def test_a_template_that_fails_or_reaches_out_is_refused(source: str) -> None:
    template = ChatTemplate(source)
    with pytest.raises(UserError) as caught:
        template.render(HELLO)
    assert caught.value.code == "chat-template-broken"


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% set r = range(99999) | list %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_never_ends_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "TIME_LIMIT", 0.2)
    with pytest.raises(UserError, match="takes longer") as caught:
        ChatTemplate(source).render(HELLO)
    assert caught.value.code == "chat-template-broken"


# ---- templates that compare what they hold very often ----

DOUBLED = (
    "{% set n = namespace(a=[1], b=[1], s=(1,), t=(1,)) %}{% for i in range(45) %}{% set n.a = [n.a, n.a] %}"
    "{% set n.b = [n.b, n.b] %}{% set n.s = (n.s, n.s) %}{% set n.t = (n.t, n.t) %}{% endfor %}"
)
VARARGS = (
    "{% macro m(left) %}{% if left %}{{ m(left - 1, varargs, varargs) }}{% else %}{{ {varargs: 1}|length }}{% endif %}"
    "{% endmacro %}{{ m(45, 1) }}"
)


@pytest.mark.parametrize(
    "source",
    [
        *(DOUBLED + "{{ " + test + " }}" for test in (
            "n.a == n.b", "n.a in [n.b]", "{n.s: 1}|length", "n.s < n.t", "[n.s, n.t]|sort|length", "n.a is eq n.b",
            "[n.a]|select('eq', n.b)|list|length", "[n.a].index(n.b)", "{}.get(n.s)",
        )),
        VARARGS,
        "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(9) %}"
        "{% for x in [1]|batch(99999, n.a) %}{% set n.a = x %}{% endfor %}"
        "{% for x in [1]|batch(99999, n.b) %}{% set n.b = x %}{% endfor %}{% endfor %}{{ n.a == n.b }}",
        "{% set s = 'a' * 900000 %}{% set t = 'a' * 900000 %}{{ [s] * 99999 == [t] * 99999 }}",
        "{% set n = namespace(a=(1,)) %}{% for i in range(9999) %}{% set n.a = (n.a,) %}{% endfor %}"
        "{{ {n.a: 1}|length }}",
    ],
)  # fmt: skip
def test_a_template_cannot_compare_for_ever(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="SecurityError") as caught:
        ChatTemplate(source).render(HELLO)
    assert caught.value.code == "chat-template-broken"
    assert time.monotonic() - began < 4


def test_lists_in_lists_of_ordinary_size_are_compared() -> None:
    source = (
        "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(15) %}{% set n.a = [n.a, n.a] %}"
        "{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }} {{ messages == messages|list }}"
        " {{ {(1, (2, 3)): 'x'}[(1, (2, 3))] }}"
    )
    assert ChatTemplate(source).render(HELLO) == "True True x"


# ---- templates that want the memory ----

GREEDY = [
    '{{ "{:1000000000}".format(1) }}',
    '{{ "{:1000000000}"|attr("format")(1) }}',
    '{{ "{0:{1}}".format(1, "1000000000") }}',
    '{{ "{x:1000000000}".format_map({"x": 1}) }}',
    '{% set ns=namespace(x="aaaaaaaaaa") %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}',
    '{% set ns=namespace(x="aaaaaaaaaa") %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}',
    '{% set ns=namespace(x="aaaaaaaaaa") %}'
    '{% for i in range(40) %}{% set ns.x = [ns.x, ns.x]|join %}{% endfor %}',
    '{% set ns=namespace(x="aaaaaaaaaa") %}'
    '{% for i in range(40) %}{% set ns.x = "{}{}".format(ns.x, ns.x) %}{% endfor %}',
    '{% set ns=namespace(x="aaaaaaaaaa") %}'
    '{% for i in range(40) %}{% set ns.x = "%s%s" % (ns.x, ns.x) %}{% endfor %}',
    '{% set ns=namespace(x="aaaaaaaaaa") %}'
    '{% for i in range(40) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}',
    '{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set n=namespace(x="aa") %}'
    '{% for i in range(40) %}{% set n.x = m(n.x) %}{% endfor %}',
    '{% set ns=namespace(x=["a"]) %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}',
    '{% set ns=namespace(x="a") %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}',
    '{% set ns=namespace(x="a") %}'
    '{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}',
    '{% set ns=namespace(x="a") %}'
    '{% for i in range(40) %}{% set ns.x = {"a": ns.x, "b": ns.x} %}{% endfor %}{{ ns.x|string }}',
    '{% set ns=namespace(x="a") %}'
    '{% for i in range(40) %}{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x ~ "" }}',
    '{% set ns=namespace(l=[]) %}'
    '{% for i in range(90000) %}{% set ns.l = ns.l + ["x" * 900000 ~ i] %}{% endfor %}',
    '{% set x = "😀" * 900000 %}{% set ns=namespace(l=[]) %}'
    '{% for i in range(900) %}{% set ns.l = [ns.l, x[1:]] %}{% endfor %}',
    "{% set y %}{% for i in range(99999) %}" + "a" * 200 + "{% endfor %}{% endset %}",
    '{{ "a" * 10**9 }}',
    '{{ ["a"] * 900000 * 900000 }}',
    '{{ "%1000000000d" % 1 }}',
    '{{ "%*d" % (1000000000, 1) }}',
    '{{ "%999999d" * 90 % ((1,) * 90) }}',
    '{{ "%1000000000d"|format(1) }}',
    '{{ "%(a)s" * 99999 % {"a": "x" * 99999} }}',
    '{{ "a"|center(10**9) }}',
    '{{ "a"|center(900000)|replace(" ", "b" * 900000) }}',
    '{{ ("a\\n" * 90000)|indent(90000) }}',
    '{{ ("a\\n" * 90000)|indent("x" * 90000) }}',
    '{{ range(99999)|join("x" * 99999) }}',
    '{{ ("x" * 99999).join(range(9999)|map("string")) }}',
    '{{ ("x" * 900000).ljust(1000000000) }}',
    '{{ "x".rjust(1000000000) }}',
    '{{ "1".zfill(1000000000) }}',
    '{{ ("\\t" * 900000).expandtabs(900000) }}',
    '{{ ("x" * 900000).translate({120: "y" * 900000}) }}',
    '{{ ("x" * 900000).encode("utf-8", "namereplace") }}',
    '{{ (1).to_bytes(900000, "big") }}',
    '{{ ("x " * 900000).split() + ("x " * 900000).split() + ("x " * 900000).split() }}',
    '{{ range(10**9)|list }}',
    '{{ (["x" * 900000] * 99999)|sort }}',
    '{{ [1]|tojson(indent=900000) }}',
    '{{ [[["x"] * 90000] * 9]|tojson(indent=60) * 90 }}',
    '{{ strftime_now("%1000000d" * 900000) }}',
    '{{ lipsum(90000) }}',
    '{{ ("<" * 900000)|e|urlencode|urlencode|urlencode }}',
    '{{ (1, 2)|batch(900000, "x")|list|string }}',
    '{{ "a" | batch(900000, "x") | map("join") | join }}',
    "{% for i in range(99999) %}{% set y %}" + "a" * 900 + "{% endset %}{% endfor %}",
]  # fmt: skip


@pytest.mark.parametrize("source", GREEDY)
def test_a_template_cannot_take_the_memory(source: str) -> None:
    """Were it made first and measured afterwards, the peak would be far above (some want gigabytes)."""
    template = ChatTemplate(source)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            template.render(HELLO)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "chat-template-broken"
    assert "SecurityError" in str(caught.value) or "is undefined" in str(caught.value)
    assert peak < 120_000_000


def test_a_template_that_changes_how_text_is_escaped_or_is_huge_does_not_compile() -> None:
    for source in ("{% autoescape true %}{{ x }}{% endautoescape %}", "{{ 1 }}" * 50_000):
        with pytest.raises(UserError) as caught:
            ChatTemplate(source)
        assert caught.value.code == "chat-template-broken"


@pytest.mark.parametrize("name", EXPECTED)
def test_the_limits_leave_room_for_a_long_conversation(name: str) -> None:
    """A hundred thousand tokens: more than the engine's largest usual context."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": f"日本 {i} " + "many words " * 150} for i in range(201)]
    template = ChatTemplate((GOLDEN / f"{name}.jinja").read_text(encoding="utf-8"), TOKENS[name])
    assert template.render(messages, now=NOW).count("many words") >= 150


def test_formatting_of_ordinary_size_works() -> None:
    source = (
        "{{ '{:>5}|{a!r}'.format(1, a='x') }}|{{ '%05.1f %s %d%%' % (2.5, 'y', 3) }}|{{ 'a b'.split()|join('-') }}"
        "|{{ 'ab'|center(6) }}|{{ 'a\nb'|indent(2) }}|{{ ['x'] * 2 + ['y'] }}|{{ 'x' ~ 1 ~ none }}|{{ 'abc'[1:] }}"
        "|{{ '-'.join(['a', 'b']) }}|{{ 'aXa'.replace('X', '--') }}|{{ '%s!' | format('hi') }}|{{ 'é'|upper }}"
    )
    assert ChatTemplate(source).render(HELLO) == (
        "    1|'x'|002.5 y 3%|a-b|  ab  |a\n  b|['x', 'x', 'y']|x1None|bc|a-b|a--a|hi!|É"
    )


def test_a_template_cannot_change_the_messages() -> None:
    messages = [{"role": "user", "content": "Hello."}]
    with pytest.raises(UserError):
        ChatTemplate("{{ messages[0].update(content='x') }}").render(messages)
    assert messages == HELLO


def test_the_template_of_a_real_model_renders_as_its_golden_text(smollm2: Path) -> None:
    template = load_chat_template(smollm2)
    for title, dialogue in DIALOGUES.items():
        prompt = dialogue.get("add_generation_prompt", True)
        text = template.render(dialogue["messages"], add_generation_prompt=prompt)
        assert text == EXPECTED["smollm2"][title]["text"]
