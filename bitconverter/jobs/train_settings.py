"""What a training is asked for, and what it takes where nothing is said."""

from dataclasses import dataclass, field
from pathlib import Path

from bitconverter.jobs.device_word import CPU

MOST_SAMPLES = 3
RATES = {
    ("exact", "gain"): 1e-2, ("exact", "lora"): 1e-3, ("exact", "delta"): 5e-4,
    ("mezo", "gain"): 0.03, ("mezo", "lora"): 1e-3, ("mezo", "delta"): 1e-6,
}  # fmt: skip
LABEL_RATE = 0.1  # of mezo and gain, where the loss is over a few words: it is far smoother than over all
EPSILONS = {"gain": 4e-2, "lora": 2e-2, "delta": 1e-3}
SPREAD_RATES = {"gain": 0.1, "lora": 1e-3, "delta": 1e-5}  # with by_spread, where slopes are of the size 1
CLIPS = {"exact": 1.0, "mezo": 100.0}


@dataclass(frozen=True)
class TrainSettings:
    """`model`: a converted folder; `lesson`: a UTF-8 .txt, or a .jsonl of {"prompt", "answer"}; `out`: the soul to
    write. The last `layers` layers learn; a step sees `batch` windows of at most `window` tokens. `labels`: the words
    that the answers of examples are, each one token, to be told apart; the loss is over these alone. adapter "gain":
    row gains of every matrix learn; "lora": additions of `rank` to the matrices `targets` (of MATRICES);
    "delta": a whole matrix is added to each of the MLP.

    engine "exact": gradients, AdamW, `decay`, and gradients of a norm above `clip` are cut to it. engine "mezo":
    forward passes alone, at +-`epsilon` along `directions` directions a step, slopes cut to `clip`, of the `objective`
    "loss" or "accuracy" (model/mezo.py); `one_sided`: at +`epsilon` and once for all directions where it is;
    `by_spread`: so, and in steps that the losses' spread sizes (FZOO), with two directions or more. rate,
    epsilon and clip None: what suits the engine and the adapter (RATES, EPSILONS, CLIPS). The rate rises over
    `warmup` steps and falls along a cosine. `patience`: after so many checks without a better loss the run ends, 0: it
    does not.

    `samples`: at most MOST_SAMPLES questions that are answered at every check, to be read by people. They change
    nothing.

    `history`: the file in which the run is written down (jobs/runs.py), "" for none.

    `eco`: at low priority, and waiting while the PC runs on its battery or its processor is too hot; `away`: waiting
    until nobody has touched a key or the mouse for so many minutes, 0: that is not looked at; `cores`: the numbers of
    the only ones to run on, () for any (jobs/eco.py). They do not change the result.

    `forget_limit`: if the loss on a built-in general text rises by more nats per token, the soul is set aside:
    written as `out` + ASIDE. 0: that is not looked at.

    `begin`: the folder of a pinned state to go on from (jobs/pinned.py), "" to begin at the beginning. Its settings
    must be these, but for steps, rate, decay, clip, warmup, patience and forget_limit.

    `device`, `gpu_memory`, `gpu_layers`: what the steps are to run on (jobs/device_word.py, training_device.py). Sums
    come in another order there, so the last bits differ; a run may be continued on another device all the same.

    `threads` does not change the result, so it may differ when a run is continued.
    """

    model: str
    lesson: str
    out: str
    layers: int = 6
    steps: int = 30
    batch: int = 16
    window: int = 256
    rate: float | None = None
    decay: float = 0.0
    seed: int = 0
    threads: int = field(default=0, metadata={"identity": False})
    cpu: str = "auto"
    labels: tuple[str, ...] = ()
    engine: str = "exact"
    epsilon: float | None = None
    directions: int = 1
    clip: float | None = None
    objective: str = "loss"
    warmup: int = 3
    patience: int = 0
    adapter: str = "gain"
    rank: int = 8
    targets: tuple[str, ...] = ("q", "v")
    forget_limit: float = 0.2
    samples: tuple[str, ...] = field(default=(), metadata={"identity": False})
    history: str = field(default="", metadata={"identity": False})
    eco: bool = field(default=False, metadata={"identity": False})
    away: float = field(default=0.0, metadata={"identity": False})
    cores: tuple[int, ...] = field(default=(), metadata={"identity": False})
    one_sided: bool = False
    by_spread: bool = False
    begin: str = ""
    device: str = field(default=CPU, metadata={"identity": False})
    gpu_memory: int | None = field(default=None, metadata={"identity": False})
    gpu_layers: int | None = field(default=None, metadata={"identity": False})

    @property
    def work_dir(self) -> Path:
        return Path(self.out + ".partial")


def usual_rate(job: TrainSettings) -> float:
    if job.engine == "mezo" and job.by_spread:
        return SPREAD_RATES[job.adapter]
    if job.engine == "mezo" and job.adapter == "gain" and job.labels:
        return LABEL_RATE
    return RATES[job.engine, job.adapter]


def epsilon_of(job: TrainSettings) -> float:
    return EPSILONS[job.adapter] if job.epsilon is None else job.epsilon


def clip_of(job: TrainSettings) -> float:
    return CLIPS[job.engine] if job.clip is None else job.clip
