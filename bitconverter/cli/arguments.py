"""The arguments of the command line."""

import argparse
import re
import sys
import textwrap
from typing import Any

from bitconverter import __version__
from bitconverter.cli import texts
from bitconverter.jobs.device_word import AUTO, CPU, Device, is_device_word
from bitconverter.jobs.long_path import reachable

CPU_MASKS = ("auto", "scalar", "avx2", "avx-vnni", "avx512", "avx512-vnni", "avx512-vbmi")
METHODS = ("full", "diag", "fast")
PRESETS = ("tiny", "4gb", "8gb", "best")  # model/budget.py says what they mean
MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
SHAPES = ("135m", "1.1b", "3b", "8b", "70b")  # model/shapes.py
TEMPLATES = (
    "chatml", "llama-3", "llama-2", "mistral", "gemma", "zephyr", "alpaca", "plain",
)  # model/known_templates.py  # fmt: skip
KV_TYPES = ("f16", "int8", "int4", "f32")
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message: str, file: Any = None) -> None:
        """Argparse's own keeps silent when it cannot write."""
        print(message, end="", file=file or sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """All verbs and options."""
    parser: argparse.ArgumentParser = _Parser(
        prog="bitconverter",
        description=texts.DESCRIPTION,
        epilog=texts.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bitconverter {__version__}")
    parser.add_argument("--open", type=reachable, metavar="MODEL", help=texts.OPTIONS["open"])
    parser.add_argument("--selftest", type=reachable, metavar="OUT.json", help=texts.OPTIONS["selftest"])
    parser.add_argument("--platform", metavar="NAME", help=texts.OPTIONS["platform"])
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    _convert(_verb(verbs, "convert"))
    _plan(_verb(verbs, "plan"))
    _chat(_verb(verbs, "chat"))
    _prepare(_verb(verbs, "prepare"))
    _train(_verb(verbs, "train"))
    _adopt(_verb(verbs, "adopt"))
    _replay(_verb(verbs, "replay"))
    _runs(_verb(verbs, "runs"))
    _merge(_verb(verbs, "merge"))
    _evaluate(_verb(verbs, "evaluate"))
    _inspect(_verb(verbs, "inspect"))
    _logits(_verb(verbs, "logits"))
    _benchmark(_verb(verbs, "benchmark"))
    _verb(verbs, "devices")
    return parser


def _verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str) -> argparse.ArgumentParser:
    summary, description, epilog = texts.HELP[name]
    parser = verbs.add_parser(
        name,
        help=summary,
        description=textwrap.fill(description, 100),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help=texts.OPTIONS["json"])
    parser.add_argument("--quiet", "-q", action="store_true", help=texts.OPTIONS["quiet"])
    return parser


def _engine_options(parser: argparse.ArgumentParser, kv: str | None = None) -> None:
    parser.add_argument("--threads", type=_natural, default=0, metavar="T", help=texts.OPTIONS["threads"])
    parser.add_argument("--cpu-mask", choices=CPU_MASKS, default="auto", help=texts.OPTIONS["cpu"])
    if kv is not None:
        parser.add_argument("--kv", choices=KV_TYPES, default=kv, help=texts.OPTIONS["kv"])


def _device_options(parser: argparse.ArgumentParser, default: str = AUTO) -> None:
    parser.add_argument(
        "--device", type=_device, default=default, metavar="DEVICE", help=texts.OPTIONS["device"]
    )
    parser.add_argument("--gpu-memory", type=byte_count, metavar="4GB", help=texts.OPTIONS["gpu_memory"])
    parser.add_argument("--gpu-layers", type=_natural, metavar="N", help=texts.OPTIONS["gpu_layers"])


def asked_device(args: argparse.Namespace) -> Device:
    """What these options say."""
    return Device(args.device, args.gpu_memory, args.gpu_layers)


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=reachable, metavar="SOURCE", help=texts.OPTIONS["source"])
    parser.add_argument("out", type=reachable, metavar="OUT", help=texts.OPTIONS["out"])
    size = parser.add_mutually_exclusive_group()
    size.add_argument(  # no default here: argparse does not see a clash with an option that has its default
        "--planes", type=int, choices=(1, 2, 3, 4), metavar="N", help=texts.OPTIONS["planes"]
    )
    size.add_argument("--bits", type=float, metavar="B", help=texts.OPTIONS["bits"])
    size.add_argument("--size", type=byte_count, metavar="3.4GB", help=texts.OPTIONS["size"])
    size.add_argument("--fit", type=fit, metavar="vram=4GB,ctx=4096", help=texts.OPTIONS["fit"])
    size.add_argument("--preset", choices=PRESETS, help=texts.OPTIONS["preset"])
    parser.add_argument("--method", choices=METHODS, help=texts.OPTIONS["method"])
    parser.add_argument(
        "--calibration",
        nargs="+",
        type=reachable,
        default=(),
        metavar="FILE",
        help=texts.OPTIONS["calibration"],
    )
    parser.add_argument(
        "--calibration-windows",
        type=_natural,
        metavar="W",
        help=texts.OPTIONS["calibration_windows"],
    )
    parser.add_argument("--no-own-chat", action="store_true", help=texts.OPTIONS["no_own_chat"])
    parser.add_argument("--polish", type=_natural, metavar="STEPS", help=texts.OPTIONS["polish"])
    parser.add_argument("--seed", type=_natural, default=0, metavar="S", help=texts.OPTIONS["seed"])
    parser.add_argument("--no-report", action="store_true", help=texts.OPTIONS["no_report"])
    parser.add_argument("--check", action="store_true", help=texts.OPTIONS["check"])
    parser.add_argument("--no-tokenizer", action="store_true", help=texts.OPTIONS["no_tokenizer"])
    _engine_options(parser)


def _plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=reachable, metavar="SOURCE", help=texts.OPTIONS["source"])
    _engine_options(parser)


def _chat(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=reachable, metavar="MODEL", help=texts.OPTIONS["model"])
    parser.add_argument("--prompt", "-p", metavar="TEXT", help=texts.OPTIONS["prompt"])
    parser.add_argument("--system", "-s", metavar="TEXT", help=texts.OPTIONS["system"])
    for name, kind, default in (
        ("temperature", float, 0.7),
        ("top-p", float, 0.95),
        ("top-k", _natural, 40),
        ("min-p", float, 0.05),
        ("repeat-penalty", float, 1.0),
        ("max-tokens", _natural, 1024),
    ):
        text = texts.OPTIONS[name.replace("-", "_")]
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="X", help=text)
    parser.add_argument("--seed", type=_natural, metavar="S", help=texts.OPTIONS["chat_seed"])
    parser.add_argument("--soul", type=reachable, metavar="FILE", default="", help=texts.OPTIONS["chat_soul"])
    known = texts.OPTIONS["chat_template"].format(known=", ".join(TEMPLATES))
    parser.add_argument("--template", type=reachable, metavar="NAME|FILE", default="", help=known)
    parser.add_argument("--context", type=_natural, default=0, metavar="T", help=texts.OPTIONS["context"])
    _engine_options(parser, kv="f16")
    _device_options(parser)


def _prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=reachable, metavar="MODEL", help=texts.OPTIONS["prepare_model"])
    parser.add_argument(
        "inputs", nargs="+", type=reachable, metavar="INPUT", help=texts.OPTIONS["prepare_inputs"]
    )
    parser.add_argument("out", type=reachable, metavar="OUT.u32", help=texts.OPTIONS["pack_out"])
    for name, default in (("window", 256), ("seed", 0), ("preview", 0)):
        text = texts.OPTIONS["prepare_" + name]
        parser.add_argument(f"--{name}", type=_natural, default=default, metavar="N", help=text)
    parser.add_argument(
        "--held", type=float, default=0.1, metavar="SHARE", help=texts.OPTIONS["prepare_held"]
    )
    parser.add_argument("--plain", action="store_true", help=texts.OPTIONS["prepare_plain"])
    parser.add_argument("--system", "-s", default="", metavar="TEXT", help=texts.OPTIONS["prepare_system"])
    parser.add_argument("--fix", action="store_true", help=texts.OPTIONS["prepare_fix"])
    parser.add_argument("--facts", action="store_true", help=texts.OPTIONS["prepare_facts"])
    parser.add_argument("--pack", action="store_true", help=texts.OPTIONS["prepare_pack"])
    parser.add_argument("--licence", default="", metavar="TEXT", help=texts.OPTIONS["prepare_licence"])


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=reachable, metavar="MODEL", help=texts.OPTIONS["converted"])
    parser.add_argument("lesson", type=reachable, metavar="LESSON", help=texts.OPTIONS["lesson"])
    parser.add_argument("out", type=reachable, metavar="OUT.soul", help=texts.OPTIONS["soul_out"])
    for name, default in (("layers", 6), ("steps", 30), ("batch", 16), ("window", 256), ("seed", 0)):
        text = texts.OPTIONS["train_" + name]
        parser.add_argument(f"--{name}", type=_natural, default=default, metavar="N", help=text)
    parser.add_argument(
        "--engine", choices=("exact", "mezo"), default="exact", help=texts.OPTIONS["train_engine"]
    )
    parser.add_argument(
        "--adapter", choices=("gain", "lora", "delta"), default="gain", help=texts.OPTIONS["train_adapter"]
    )
    # no defaults for what belongs to one engine or adapter: given beside another one, it is refused
    parser.add_argument("--rank", type=_natural, metavar="N", help=texts.OPTIONS["train_rank"])
    parser.add_argument("--targets", nargs="+", choices=MATRICES, help=texts.OPTIONS["train_targets"])
    parser.add_argument("--rate", type=float, metavar="X", help=texts.OPTIONS["train_rate"])
    parser.add_argument("--decay", type=float, metavar="X", help=texts.OPTIONS["train_decay"])
    parser.add_argument("--clip", type=float, metavar="X", help=texts.OPTIONS["train_clip"])
    parser.add_argument("--epsilon", type=float, metavar="X", help=texts.OPTIONS["train_epsilon"])
    parser.add_argument("--one-sided", action="store_true", help=texts.OPTIONS["train_one_sided"])
    parser.add_argument("--by-spread", action="store_true", help=texts.OPTIONS["train_by_spread"])
    parser.add_argument("--objective", choices=("loss", "accuracy"), help=texts.OPTIONS["train_objective"])
    parser.add_argument("--check", action="store_true", help=texts.OPTIONS["train_check"])
    parser.add_argument("--directions", type=_natural, metavar="N", help=texts.OPTIONS["train_directions"])
    for name, default in (("warmup", 3), ("patience", 0)):
        text = texts.OPTIONS["train_" + name]
        parser.add_argument(f"--{name}", type=_natural, default=default, metavar="N", help=text)
    parser.add_argument("--labels", nargs="+", default=(), metavar="WORD", help=texts.OPTIONS["train_labels"])
    parser.add_argument(
        "--sample", action="append", default=[], metavar="TEXT", help=texts.OPTIONS["train_sample"]
    )
    parser.add_argument("--eco", action="store_true", help=texts.OPTIONS["train_eco"])
    parser.add_argument(
        "--away", type=float, default=0.0, metavar="MINUTES", help=texts.OPTIONS["train_away"]
    )
    parser.add_argument("--cores", type=_cores, default=(), metavar="N,N", help=texts.OPTIONS["train_cores"])
    parser.add_argument(
        "--forget-limit", type=float, default=0.2, metavar="X", help=texts.OPTIONS["train_forget_limit"]
    )
    _engine_options(parser)
    _device_options(parser)


def _adopt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("soul", type=reachable, metavar="SOUL", help=texts.OPTIONS["soul_aside"])


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=reachable, metavar="MODEL", help=texts.OPTIONS["converted"])
    parser.add_argument("log", type=reachable, metavar="LOG", help=texts.OPTIONS["step_log"])
    parser.add_argument("out", type=reachable, metavar="OUT.soul", help=texts.OPTIONS["soul_out"])


def _runs(parser: argparse.ArgumentParser) -> None:
    actions = ("diff", "pin", "unpin", "go-on")
    parser.add_argument("action", nargs="?", choices=actions, help=texts.OPTIONS["runs_action"])
    parser.add_argument(
        "numbers", nargs="*", type=_natural, metavar="NUMBER", help=texts.OPTIONS["runs_numbers"]
    )
    parser.add_argument("--most", type=_natural, default=20, metavar="N", help=texts.OPTIONS["runs_most"])
    parser.add_argument("--out", type=reachable, metavar="OUT.soul", help=texts.OPTIONS["runs_out"])
    parser.add_argument("--steps", type=_natural, metavar="N", help=texts.OPTIONS["runs_steps"])
    parser.add_argument("--rate", type=float, metavar="R", help=texts.OPTIONS["runs_rate"])


def _merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=reachable, metavar="MODEL", help=texts.OPTIONS["converted"])
    parser.add_argument("soul", type=reachable, metavar="SOUL", help=texts.OPTIONS["soul"])
    parser.add_argument("out", type=reachable, metavar="OUT", help=texts.OPTIONS["out"])


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=reachable, metavar="MODEL", help=texts.OPTIONS["model"])
    parser.add_argument("--text", required=True, type=reachable, metavar="FILE", help=texts.OPTIONS["text"])
    parser.add_argument("--reference", type=reachable, metavar="SOURCE", help=texts.OPTIONS["reference"])
    parser.add_argument(
        "--max-tokens", type=_natural, default=0, metavar="T", help=texts.OPTIONS["eval_tokens"]
    )
    parser.add_argument("--window", type=_natural, default=512, metavar="T", help=texts.OPTIONS["window"])
    _engine_options(parser, kv="f16")
    _device_options(parser)


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=reachable, metavar="MODEL", help=texts.OPTIONS["model"])
    parser.add_argument("--verify", action="store_true", help=texts.OPTIONS["verify"])
    parser.add_argument("--summary", action="store_true", help=texts.OPTIONS["summary"])


def _logits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=reachable, metavar="MODEL", help=texts.OPTIONS["model"])
    parser.add_argument("--ids", required=True, metavar="1,2,3", help=texts.OPTIONS["ids"])
    parser.add_argument("--out", required=True, type=reachable, metavar="FILE.npy", help=texts.OPTIONS["npy"])
    _engine_options(parser, kv="f32")
    _device_options(parser, CPU)  # what others compare with is the same everywhere


def _benchmark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=reachable, metavar="MODEL", help=texts.OPTIONS["model"])
    # no defaults here: what has no effect beside the others is refused where it is given
    for name in ("prompt-tokens", "new-tokens", "repeat"):
        text = texts.OPTIONS[name.replace("-", "_")]
        parser.add_argument(f"--{name}", type=_natural, metavar="N", help=text)
    parser.add_argument("--full", action="store_true", help=texts.OPTIONS["full"])
    parser.add_argument("--synthetic", choices=SHAPES, help=texts.OPTIONS["synthetic"])
    parser.add_argument(
        "--planes", type=int, choices=(1, 2, 3, 4), metavar="N", help=texts.OPTIONS["synthetic_planes"]
    )
    parser.add_argument("--layers", type=_natural, metavar="N", help=texts.OPTIONS["synthetic_layers"])
    parser.add_argument("--llama-bench", type=_named, metavar="PROGRAM", help=texts.OPTIONS["llama_bench"])
    parser.add_argument("--gguf", type=_named, metavar="FILE", help=texts.OPTIONS["gguf"])
    parser.add_argument("--sessions", type=_counts, metavar="1,8,32", help=texts.OPTIONS["sessions"])
    parser.add_argument("--text", type=_named, metavar="FILE", help=texts.OPTIONS["context_text"])
    parser.add_argument("--max-tokens", type=_natural, metavar="N", help=texts.OPTIONS["context_tokens"])
    _engine_options(parser, kv="f16")
    _device_options(parser)


def _natural(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{_short(text)} is no whole number") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative, give a whole number from 0 up")
    return value


def _counts(text: str) -> tuple[int, ...]:
    """1,8,32: how many texts at once."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not part.isdecimal() or len(part) > 9 or int(part) == 0:
            wrong = _short(part) if part else "an empty place"
            raise argparse.ArgumentTypeError(
                f"{_short(text)} holds {wrong}, which is no number of texts: give whole numbers from 1 up, separated "
                "by commas, like 1,8,32"
            )
    return tuple(map(int, parts))


def _named(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty: give a file, or leave the option out")
    return reachable(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _cores(text: str) -> tuple[int, ...]:
    return tuple(_natural(part) for part in text.split(","))


def _device(text: str) -> str:
    if not is_device_word(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no device: give auto, cpu, cuda or cuda:N")
    return text


def byte_count(text: str) -> int:
    """3.4GB, 900 MB, 4GiB, or a plain number of bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-zA-Z]*)\s*", text)
    unit = UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it like 3.4GB, 900MB or 4GiB")
    return round(float(match[1]) * unit)


def fit(text: str) -> tuple[int, int, str]:
    """vram=4GB,ctx=4096,kv=f16: (bytes, tokens, kind of KV cache); ctx and kv may be left out."""
    words = dict(part.partition("=")[::2] for part in text.split(","))
    if "vram" not in words or not set(words) <= {"vram", "ctx", "kv"}:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be like vram=4GB,ctx=4096 or vram=4GB,ctx=8192,kv=int8"
        )
    kv, context = words.get("kv", "f16"), words.get("ctx", "4096")
    if kv not in KV_TYPES:
        raise argparse.ArgumentTypeError(f"there is no KV cache of {kv}: choose {', '.join(KV_TYPES)}")
    if not context.isascii() or not context.isdigit():
        raise argparse.ArgumentTypeError(f"ctx={context} is no number of tokens")
    return byte_count(words["vram"]), int(context), kv
