"""How many tokens a benchmark measures: what is asked for, or the usual as far as a model has positions for it."""

from dataclasses import dataclass

from bitconverter.format.errors import UserError

LEAST = 2  # positions of a model, tokens of a text: one, and one that follows it
PROMPT, NEW = 512, 64  # of a prompt and its answer
ROW_PROMPT, ROW_NEW = 512, 32  # in the rows of a table
TOGETHER, TOGETHER_ALONE = 8, 32  # decoded by each of many texts; where nothing else is measured


@dataclass(frozen=True)
class RowLengths:
    """Tokens: of a prompt; decoded in a row; decoded in a row by each of many texts."""

    prompt: int
    new: int
    together: int


def check_counts(**asked: int | None) -> None:
    """Raises UserError("benchmark-least") for one below 1; their names are options with _ for -."""
    for name, value in asked.items():
        if value is not None and value < 1:
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                "benchmark-least",
                f"{option} {value} leaves nothing to measure: give at least 1.",
                name=option, value=value,
            )  # fmt: skip


def check_text_tokens(value: int) -> None:
    """Raises UserError("benchmark-text-tokens") for so few of a text that nothing is predicted; 0 stands for all."""
    if value != 0 and value < LEAST:
        raise UserError(
            "benchmark-text-tokens",
            f"--max-tokens {value} leaves nothing to measure, because nothing comes before the first token of a text: "
            f"give at least {LEAST}.",
            value=value, least=LEAST,
        )  # fmt: skip


def lengths_in(room: int, prompt: int | None, new: int | None) -> tuple[int, int]:
    """Tokens of a prompt and of the answer behind it, for a model of `room` positions. Raises
    UserError("benchmark-positions", "benchmark-room")."""
    _need_positions(room)
    n_prompt, n_new = prompt, new
    if n_new is None:  # 8 tokens of prompt to each new one, as in the usual lengths
        n_new = max(1, min(NEW, room // 9 if n_prompt is None else room - n_prompt))
    if n_prompt is None:
        n_prompt = max(1, min(PROMPT, room - n_new))
    if n_prompt + n_new > room:
        given = {"--prompt-tokens": prompt, "--new-tokens": new}
        what = " with ".join(f"{name} {value}" for name, value in given.items() if value is not None)
        raise UserError(
            "benchmark-room",
            f"{what} does not fit: this model has {room} positions, for a prompt and its answer together. "
            "Give smaller numbers.",
            what=what, room=room,
        )  # fmt: skip
    return n_prompt, n_new


def row_lengths_in(room: int, prompt: int | None, new: int | None, whole: bool) -> RowLengths:
    """For a model of `room` positions; `whole`: more is measured than many texts. Raises
    UserError("benchmark-positions", "benchmark-most")."""
    _need_positions(room)
    most = room - 1  # they follow a token
    return RowLengths(
        _that_fits("--prompt-tokens", prompt, ROW_PROMPT, room, room),
        _that_fits("--new-tokens", new, ROW_NEW, most, room),
        _that_fits("--new-tokens", new, TOGETHER if whole else TOGETHER_ALONE, most, room),
    )


def _need_positions(room: int) -> None:
    if room < LEAST:
        raise UserError(
            "benchmark-positions",
            f"This model has {room} position, and measuring takes at least {LEAST}: a token and one that follows it. "
            "Give a model of more positions.",
            room=room, least=LEAST,
        )  # fmt: skip


def _that_fits(name: str, asked: int | None, usual: int, most: int, room: int) -> int:
    if asked is not None and asked > most:
        before = "" if most == room else ", and one token comes before these"
        raise UserError(
            "benchmark-most",
            f"{name} {asked} does not fit: this model has {room} positions{before}. Give at most {most}.",
            name=name, asked=asked, room=room, most=most,
        )  # fmt: skip
    return min(usual, most) if asked is None else asked
