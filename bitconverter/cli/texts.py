"""Every sentence of the command line: helps, notes, what is printed at the end."""

DESCRIPTION = """\
Shrink a Llama-family model to ternary planes and talk to it, on the PC you already have.

Without a verb, a window opens. `bitconverter VERB --help` explains a verb with examples.
"""

EPILOG = """\
a first session:
  bitconverter convert Downloads/SmolLM2-135M-Instruct small --planes 3
  bitconverter chat small
  bitconverter evaluate small --text story.txt --reference Downloads/SmolLM2-135M-Instruct

exit status:
  0    done
  1    it failed; the reason is on standard error
  2    the arguments are wrong
  130  stopped by Ctrl-C

MODEL may be a folder that `convert` made, a Hugging Face folder as it is (bf16, f16 or f32 safetensors),
or for evaluate, inspect, logits and benchmark a .gguf file. Models: Llama 2/3, Mistral, Qwen2, Qwen3, SmolLM2.

On Windows, what goes to a file or another program is UTF-8; what comes from one is UTF-8 or the system's code page.
"""

HELP = {
    "convert": (
        "shrink a model folder or a .gguf file",
        "Write a smaller copy of SOURCE as the new folder OUT. Stopped by Ctrl-C, a crash or a power cut, it goes "
        "on where it was when the same command is given again, and ends in the same bytes. OUT appears only when "
        "it is complete.",
        "examples:\n"
        "  bitconverter convert Llama-3.2-1B-Instruct llama-small --bits 3.25\n"
        "  bitconverter convert Llama-3.1-8B-Instruct llama-small --preset 4gb\n"
        "  bitconverter convert Llama-3.1-8B-Instruct llama-small --fit vram=6GB,ctx=16384,kv=int8\n"
        "  bitconverter convert model.Q4_K_M.gguf small --planes 3 --method fast\n"
        "  bitconverter convert Llama-3.2-1B-Instruct llama-small --check\n\n"
        "planes: 1 = 1.6 bits per weight (needs training to be of use), 2 = 3.2 bits, 3 = 4.8 bits (close to the\n"
        "original), 4 = 6.4 bits (hard to tell apart).",
    ),
    "plan": (
        "what converting a model would give: size, quality, time and memory of each preset",
        "Time a few matrices of SOURCE on this computer and print an estimate for every preset; nothing is converted "
        "or written.",
        "example:\n  bitconverter plan Llama-3.2-1B-Instruct\n\n"
        "--json gives: memory_bytes, choices and averages (preset, bits, file_bytes, chat_bytes, fits, context, kl,\n"
        "kl_fast, seconds_full, seconds_fast, peak_full, peak_fast, tokens_per_second, problem).",
    ),
    "chat": (
        "talk to a model",
        "Answers are streamed as they are made. Without --prompt every line that you enter is a message; "
        "/reset forgets the conversation, /summary goes on with it in short, /quit or Ctrl-D ends, Ctrl-C stops the "
        "answer. Standard input need not be a terminal: then each of its lines is a message. With --json each answer "
        "is one JSON object, printed when it is whole.",
        'examples:\n  bitconverter chat small\n  bitconverter chat small --prompt "What is the capital of France?"\n'
        "  bitconverter chat small --prompt - --temperature 0 < question.txt   (all of it is one message)\n"
        "  bitconverter chat small --device cuda:0 --gpu-memory 4GB",
    ),
    "prepare": (
        "make texts, examples and conversations ready for training",
        "Read INPUTs (files and folders of .txt, .md, .pdf, .docx, .jsonl, .json, .csv, .tsv; a raw .u32 with its "
        ".mask) and write them as token ids of MODEL's tokenizer into OUT.u32. Each row is used or rejected; rejected "
        "ones are named with line and reason and saved as OUT.rejected.jsonl. Of examples and conversations only the "
        "answers are learned, of texts everything.",
        "examples:\n"
        "  bitconverter prepare small lessons.jsonl lessons.u32 --preview 3     (looks only, writes nothing)\n"
        "  bitconverter prepare small lessons.jsonl more.csv lessons.u32 --fix\n"
        "  bitconverter prepare small notes/ notes.u32\n"
        "  bitconverter prepare small manual.pdf manual.u32 --facts\n"
        "  bitconverter train small lessons.u32 lessons.soul\n\n"
        'Rows: {"prompt", "answer"} (also question, input/output, ...), Alpaca {"instruction", "input", "output"},\n'
        'ShareGPT {"conversations"}, OpenAI {"messages"}, {"text"}. A table\'s first line names its columns. UTF-8,\n'
        "UTF-16, cp932 and EUC-JP are told apart.\n\n"
        "--json gives: rows, used, rejected, mended, tokens, learned, files, problems, previews (and more).",
    ),
    "train": (
        "teach a converted model from a text or from examples",
        "Train row gains, low-rank additions or added matrices of the last layers of MODEL and write them as OUT.soul; "
        "MODEL stays as it is. Stopped by Ctrl-C, a crash or a power cut, it goes on where it was when the same "
        "command is given again. A tenth of LESSON is held back; what is best on it is kept. If with it the model has "
        "forgotten too much of a general text that is built in, it is set aside.",
        "examples:\n"
        "  bitconverter train small novel.txt style.soul --steps 200\n"
        '  bitconverter train small reviews.jsonl taste.soul --labels " great" " terrible"\n'
        "  bitconverter train small novel.txt style.soul --layers 30 --device cuda:0\n"
        "  bitconverter chat small --soul style.soul\n"
        "  bitconverter merge small style.soul small-style && bitconverter chat small-style\n\n"
        "--engine mezo needs no gradient, only forward passes, and learns much more slowly: use it where memory is\n"
        "short or with --objective accuracy. It leaves OUT.soul.steps beside the soul, from which `replay` makes the\n"
        "same soul again.\n\n"
        'LESSON: a .u32 that `prepare` made, a text, or a .jsonl with a line {"prompt": "...", "answer": "..."} for\n'
        "each example, of which the answer is learned. Conversations, tables, other rows and folders go through\n"
        "`prepare` first. UTF-8, UTF-16, cp932 and EUC-JP are told apart.",
    ),
    "adopt": (
        "keep a soul that a training has set aside",
        "A training that makes the model forget too much of what has nothing to do with its lesson writes "
        "SOUL.aside instead of SOUL. This gives it its name after all.",
        "example:\n  bitconverter adopt style.soul",
    ),
    "replay": (
        "make a soul again from the step log of its training",
        "Go through a training with --engine mezo again by the numbers that it wrote down, without its lesson; "
        "OUT.soul has the same bytes as the soul of that training.",
        "example:\n  bitconverter replay small taste.soul.steps again.soul",
    ),
    "runs": (
        "the trainings so far, what two of them have differently, and pinned states",
        "List the trainings of this user, the newest first: their number, outcome, steps, the loss on what was held "
        "back, on what they ran and what is pinned. `runs diff A B` prints the settings and results in which numbers "
        "A and B differ. "
        "`runs pin A` pins the newest saved state of an unfinished training (`runs pin A STEP`: the one after STEP): "
        "it stays in OUT.soul.pinned when the training goes on and when it ends. `runs go-on A STEP --out NEW.soul` "
        "trains on from there; `runs unpin A STEP` removes it.",
        "examples:\n  bitconverter runs\n  bitconverter runs diff 1 2\n  bitconverter runs pin 2\n"
        "  bitconverter runs go-on 2 15 --out other.soul --steps 60 --rate 0.003\n\n"
        "outcome: done; kept (ended before its last step); aside (it has forgotten too much); failed; unfinished (it\n"
        "runs, or can go on, or was given up). What was refused is not listed.\n\n"
        "--json gives: runs (id, started, ended, outcome, soul, settings, numbers, pinned, devices: on what it ran,\n"
        "one after the other); diff: first and second (also losses and checks), settings and numbers; pin and unpin:\n"
        "path and step; go-on: what train gives.",
    ),
    "merge": (
        "write what was trained into a copy of the model",
        "Copy MODEL to the new folder OUT with the gains of SOUL in its scales.",
        "example:\n  bitconverter merge small style.soul small-style",
    ),
    "evaluate": (
        "perplexity on a text; with a reference, how close the model stays to it",
        "Cut the text into windows of 512 tokens and predict each token from those before it in its window. "
        "--reference also gives the KL divergence to that model (0 = the same) and how often both find the same "
        "token most probable. --device is for MODEL; the reference runs on the processor.",
        "examples:\n  bitconverter evaluate small --text story.txt\n"
        "  bitconverter evaluate small --text story.txt --reference Llama-3.2-1B-Instruct --max-tokens 20000\n\n"
        "--json gives: perplexity, kl, top1, tokens (and reference_perplexity, seconds, tokens_per_second, placed).",
    ),
    "inspect": (
        "what a model holds: tensors, planes, bits per weight, sizes, hashes",
        "List the tensors with their form, planes, bytes, relative squared error and the start of their SHA-256.",
        "examples:\n  bitconverter inspect small\n  bitconverter inspect small --verify\n"
        "  bitconverter inspect model.gguf --summary\n\n"
        "--json gives: bits_per_weight, file_bytes, tensors (and kind, family, parameters, unsupported, ...).",
    ),
    "logits": (
        "the raw logits of token ids, as a .npy file (for debugging)",
        "Run the ids through the model and write f32 [tokens, vocabulary]; row i predicts token i + 1. "
        "No tokenizer is needed.",
        "example:\n  bitconverter logits small --ids 1,2,3 --out logits.npy",
    ),
    "benchmark": (
        "how fast a model runs here",
        "Load the model, prefill a prompt and decode greedily, several times; the medians are printed, with a hash "
        "of the result, so that a speed-up that changes the answer shows.",
        "examples:\n  bitconverter benchmark small\n  bitconverter benchmark small --threads 1 --cpu-mask avx2\n"
        "  bitconverter benchmark small --full\n"
        "  bitconverter benchmark random-8b --synthetic 8b --planes 2\n"
        "  bitconverter benchmark small --llama-bench ./llama-bench --gguf same-shape-q4_0.gguf\n"
        "  bitconverter benchmark small --device cuda:0 --sessions 1,8,32\n"
        "  bitconverter benchmark small --text book.txt --kv int8\n\n"
        "--json gives: prefill_tok_s, decode_tok_s, load_s, peak_rss_bytes (and isa, threads, logits_hash, ...);\n"
        "with --full, --sessions or --text: rows (what, threads, value, unit, share, peer, ratio, result),\n"
        "weight_bytes, peak_rss_bytes, rss_limit_bytes (and isa, machine, peer, ...).\n"
        "placed: where, device, layers, all_layers, head, weight_bytes, session_bytes, code; device_memory:\n"
        "used_bytes, peak_bytes, total_bytes, free_bytes of the graphics card, null on the processor.",
    ),
    "devices": (
        "the processor and the graphics cards that models can run on",
        "List what --device may name, with the memory of each card as its driver tells it; where no card can be used, "
        "why. Chats, evaluations, logits and benchmarks can run on a card, and so can the steps of a training; "
        "conversion runs on the processor.",
        "examples:\n  bitconverter devices\n  bitconverter devices --json\n\n"
        "--json gives: cards (name, total_bytes, free_bytes, compute_major, ...; cuda:0 first), code and why.",
    ),
}

OPTIONS = {
    "source": "a Hugging Face folder (config.json and .safetensors files) or a .gguf file",
    "out": "the folder to make; it must not exist yet",
    "model": "a model folder",
    "planes": "ternary planes of the layers' matrices, 1 to 4 (default 3)",
    "bits": "instead of --planes: average bits per weight; every matrix gets as many planes as it needs",
    "size": "instead of --planes: bytes of the finished weight file",
    "fit": "instead of --planes: the memory that weights, KV cache (ctx tokens, kv f16, int8 or f32) and work space "
    "of a chat must fit into",
    "preset": "instead of --planes: tiny (2 bits), 4gb and 8gb (fit 4 GB with 4096 tokens, 8 GB with 8192), best "
    "(4 planes)",
    "method": "full: calibrated on text, minutes for a small model, hours for a large one; diag: one pass over the "
    "text, quicker and weaker; fast: no text, seconds to minutes, weaker still (default full; fast with "
    "--no-tokenizer, because then no text can be read)",
    "full": "a Markdown table: also the memory's speed, one and all threads, long contexts, many sequences at once",
    "synthetic": "first make MODEL, a new folder: random weights in the shape of a well-known model",
    "synthetic_planes": "--synthetic: planes of every matrix, 1 to 4 (2)",
    "synthetic_layers": "--synthetic: so many layers instead of the shape's own",
    "llama_bench": "--full, with llama.cpp's llama-bench, or ik_llama.cpp's, in the same rounds; needs --gguf",
    "gguf": "the model that --llama-bench measures, of the same shape",
    "calibration": "UTF-8 text files to calibrate on (default: a mix of prose, documents, code and "
    "dialogue, which the model writes in part itself)",
    "calibration_windows": "how many windows of 512 tokens of it to use (default: 64; up to 128 for wide models with "
    "method full)",
    "polish": "train row scales and norms for so many steps at the end of method full (0: not; default: 48 for models "
    "below two billion weights, else 0)",
    "no_own_chat": "do not let the model itself write dialogue to calibrate on (with method full and without "
    "--calibration files it does)",
    "seed": "of the random rotation; other seeds are as good (default 0)",
    "no_report": "do not compare the result with the source at the end (KL, perplexity, six answers; about a minute "
    "for a small model)",
    "check": "only check the settings, the source and the target, convert nothing",
    "no_tokenizer": "convert even if the source has no tokenizer.json (for `logits` and `benchmark` only)",
    "threads": "threads to use (default: one per core); results do not depend on it",
    "cpu": "use no newer CPU instructions than these (default: the best there are)",
    "kv": "how attention keys and values are kept (default %(default)s)",
    "device": "what to run on: auto (a graphics card where one works and has room, else the processor), cpu, cuda (the "
    "first card) or cuda:N (default %(default)s). What does not fit on the card stays on the processor, layer by "
    "layer. Conversion always runs on the processor; a training runs its steps on the card, but "
    "--adapter delta and the general text on the processor",
    "gpu_memory": "as if the card had only so much memory, such as 4GB (default: all that is free there)",
    "gpu_layers": "at most so many layers on the card (default: all that fit)",
    "sessions": "only decode so many texts at once, numbers separated by commas; with --full in its table",
    "json": "print one JSON object on standard output",
    "quiet": "no progress on standard error",
    "prompt": "answer this one message and end; - reads it from standard input",
    "system": "the instruction placed before the conversation",
    "temperature": "0 always takes the most probable token; higher is more varied (default %(default)s)",
    "top_p": "keep the most probable tokens that together reach this probability (default %(default)s)",
    "top_k": "keep at most this many tokens, 0 for all (default %(default)s)",
    "min_p": "keep tokens at least this probable relative to the best (default %(default)s)",
    "repeat_penalty": "above 1: repeat less (default %(default)s)",
    "chat_seed": "the same seed and messages give the same answer (default: a new one each time)",
    "max_tokens": "longest answer in tokens (default %(default)s)",
    "context": "tokens that the conversation may take (default: the model's, at most 4096)",
    "converted": "a folder that `convert` made",
    "chat_soul": "talk to MODEL with what `train` wrote to this file; MODEL stays as it is",
    "chat_template": "how the conversation is written for the model: {known}, or a Jinja file (default: the model's "
    "own)",
    "lesson": "what to learn: a .u32 that `prepare` made, a text, or a .jsonl of examples",
    "prepare_model": "the model that is to learn: its tokenizer and its chat template are used",
    "prepare_inputs": "files and folders",
    "pack_out": "the pack to write; it must not exist yet",
    "prepare_window": "tokens that an example may have; longer ones are rejected (default %(default)s)",
    "prepare_seed": "of what is held back to check with (default %(default)s)",
    "prepare_preview": "show the first N rows as the model will see them, what is learned between \u00ab and \u00bb; "
    "write nothing",
    "prepare_held": "the share that is held back to check with (default %(default)s); with 0 the training chooses some",
    "prepare_plain": "join prompt and answer as they are, without the model's chat template",
    "prepare_system": "the instruction placed before conversations that have none",
    "prepare_fix": "put right what can be put right by itself (numbers as texts, Python's quotes, turns without an "
    "answer)",
    "prepare_facts": "the model shall know what the texts say: it also learns requests that name what is in each "
    "sentence and gap texts, and, so that it forgets less, general texts and its own answers to general questions; how "
    "to train with it is told at the end",
    "prepare_pack": "let examples share a window: faster, but they see each other",
    "prepare_licence": "the licence of the material, to be kept with it",
    "soul": "the file that `train` wrote",
    "soul_out": "the file to write; it must not exist yet",
    "train_layers": "how many of the last layers learn (default %(default)s)",
    "train_steps": "steps of training (default %(default)s)",
    "train_batch": "windows or examples that one step sees (default %(default)s)",
    "train_window": "tokens of a window; examples must fit into it (default %(default)s)",
    "train_seed": "of the order of windows and of which are held back (default %(default)s)",
    "train_engine": "how to learn: by exact gradients, or by forward passes alone (default %(default)s)",
    "train_adapter": "what learns: the gain of every row, low-rank additions to --targets, or a whole matrix added to "
    "each of the MLP, which takes much memory and can hold facts (default %(default)s)",
    "train_rank": "lora: the rank of an addition (default 8)",
    "train_targets": "lora: the matrices of a layer that get one (default q v)",
    "train_rate": "how far a step goes (default: 0.01 for gains, with mezo 0.03, or 0.1 with "
    "--labels; 0.001 for lora; 0.0005 for delta, with mezo 0.000001, with --by-spread 0.00001)",
    "train_clip": "exact: the largest norm of a gradient (default 1); mezo: the largest slope (default 100)",
    "train_epsilon": "mezo: how far to look to both sides (default: 0.04 for gains, 0.02 for lora, 0.001 for delta)",
    "train_one_sided": "mezo: look to one side of each direction, and once for all where it is: of use with several "
    "directions, which then cost half",
    "train_by_spread": "mezo: --one-sided, with steps of a size that the spread of the losses gives (FZOO): for "
    "several --directions",
    "train_directions": "mezo: directions to look along in a step (default 1)",
    "train_objective": "mezo: make the loss small, or more examples right in every token (default loss)",
    "train_warmup": "steps over which the rate rises at the beginning (default %(default)s)",
    "train_check": "only try a few steps and tell how long the training would take and how much memory, then end",
    "train_patience": "end after so many of the ten checks without a gain, 0: never (default %(default)s)",
    "step_log": "the .steps file that `train --engine mezo` wrote",
    "train_forget_limit": "by how many nats per token the loss on a built-in general text may rise; what has forgotten "
    "more is set aside (default %(default)s; 0: do not look)",
    "runs_action": "compare two trainings; pin or unpin a state of one; go on from a pinned one",
    "runs_numbers": "with diff: the numbers of both; else the number of the training, and the step of its state",
    "runs_out": "with go-on: the soul to write, a name that is not taken",
    "runs_steps": "with go-on: so many steps, those before the pinned state counted (default: as many as it had)",
    "runs_rate": "with go-on: another rate (default: the one it had)",
    "runs_most": "list at most so many, 0 for all (default %(default)s)",
    "train_eco": "leave the computer to its user: low priority, and no work while it runs on its battery or its "
    "processor is too hot (on Windows the temperature is not read)",
    "train_away": "work only when nobody has touched a key or the mouse for so many minutes (seen on Windows and on "
    "X11, not under Wayland; default: look at none)",
    "train_cores": "run on these processor cores alone, numbers separated by commas, from 0 on (default: on any)",
    "train_sample": "a question to answer at every check, so that the change can be read; up to three times",
    "soul_aside": "the name that the soul was to have, with or without .aside",
    "train_decay": "exact: how strongly the gains are pulled back (default 0)",
    "train_labels": "the words that the answers of the examples are, each one token, often with a space before it: "
    "only to tell them apart is learned",
    "text": "a UTF-8 text file",
    "reference": "the model to compare with, usually the one it was converted from: a folder or a .gguf file",
    "context_text": "a long text: its perplexity and the speed of decoding by position, up to the model's limit; with "
    "--full in its table",
    "context_tokens": "--text: only its first tokens, at least 2 (default: as many as the model has positions for)",
    "eval_tokens": "use only the text's first tokens (default: all)",
    "window": "tokens per window (default %(default)s)",
    "verify": "read all files and compare with the SHA-256 in manifest.json",
    "summary": "leave out the list of tensors",
    "ids": "token ids, separated by commas",
    "npy": "the .npy file to write; one that is there is replaced, any other file is not",
    "prompt_tokens": "length of the prompt (default 512, less where a model has fewer positions)",
    "new_tokens": "tokens to decode (default 64; in the rows of --full 32, of many sequences 8 each; with --sessions "
    "alone 32; less where a model has fewer positions)",
    "repeat": "runs to take the median of (default 3)",
    "open": "open the window with this model",
    "selftest": "try everything this installation needs, window included; write what was found to this file",
    "platform": "draw with this one of Qt's platforms, such as offscreen (for --selftest without a screen)",
}

# What a Note event says; the fields stand in braces.
NOTES = {
    "expanding": "writing {file} out as a temporary folder",
    "check": "{level}: {message}",
    "calibration": "calibrating on {tokens} tokens of {files}",
    "own-chat": "the model itself wrote {conversations} conversations for it",
    "text-changed": "the calibration text is not what it was when this conversion began: it rounds all again",
    "own-chat-large": "without conversations by the model itself: it is too large to write them on this computer",
    "own-chat-skipped": "without conversations by the model itself: {why}",
    "dreams-cut": "{path}: more than {limit} dreams, and what comes behind is not dreamt of: learn a part of it",
    "dreams-none": "nothing is dreamt of: there is no sentence that says something and fits into a window",
    "rehearsal-skipped": "without answers of the model itself, so that it may forget more: {why}",
    "more-damping": "the inputs of {matrix} depend on each other: calibrated with damping {damping:g}",
    "polished": "polish: KL to the source {kl_before:.4f} before, {kl_after:.4f} after, on text not trained on",
    "polish-no-gain": "polish: no gain (KL {kl_before:.4f} before, {kl_after:.4f} after), so it is not used",
    "polish-left-out": "polish: left out, because {matrices} matrices are ternary already and must stay exact",
    "dead-inputs": "{inputs} inputs of {matrix} are always zero on the calibration text",
    "blas-threads": "numpy uses an unknown BLAS: the result may depend on the number of cores",
    "ternary": "{matrices} matrices are ternary already: kept exactly, as one plane",
    "row-rejected": "{where}: {reason}; {fix}",
    "file-read": "{path}{encoding}: {used} of {rows} rows are used",
    "files-left-out": "{count} files of the folders are of other kinds and left out",
    "lesson-no-end-token": "this model has no token that ends a text: it will not learn to stop",
    "train-device": "{said}",
    "train-device-changed": "this training ran on {before} until now and goes on on {now}: the last digits of its "
    "result will differ from those of a run without a break",
    "prefix-goes-on": "going on with what is computed before the first step: {windows} of {all} windows are there",
    "prefix-bad": "what was computed before the first step is damaged behind window {windows}: it is computed again "
    "from there",
    "train-began": (
        "{parameters} parameters learn from {windows} windows ({targets} learned tokens); {checks} are held back"
    ),
    "resumed-training": "going on after step {step}",
    "began-at-pin": "going on from the pinned state after step {step}",
    "checkpoint-bad": "a damaged checkpoint was set aside as {name}; the newest good one is used",
    "train-plateau": "no gain in the last {checks} checks: ended after step {step}",
    "train-slower": "the loss jumped at step {step}: back to the best state, at half the rate ({rate:g})",
    "train-gave-up": "the loss jumped again at step {step}, at the lowest rate that is tried: ended early, with the "
    "best state, that after step {best}; a smaller rate may get further",
    "train-no-gain": "nothing helped: the model was best as it was",
    "train-sample": "step {step}: {prompt}\n    {answer}",
    "on-battery": "the computer runs on its battery: waiting until it is plugged in",
    "too-hot": "the processor is at {degrees:.0f} degrees Celsius ({limit:.0f} is too hot): waiting for {until:.0f}",
    "user-active": "somebody uses the computer: waiting for {minutes:g} minutes without a key or the mouse",
    "goes-on": "going on",
    "cannot-see-heat": "nothing here tells how hot the processor is: it will not make the training wait",
    "cannot-see-user": "nothing here tells whether somebody uses the computer: the training does not wait for that",
    "history-unavailable": "this training is not in the list of `bitconverter runs`: {reason}",
    "adopt-not-listed": "`bitconverter runs` still lists it as set aside: {reason}",
    "sample-failed": "{prompt}: no answer ({reason})",
    "train-forgot": "it has forgotten too much: the loss on a general text rose from {before:.3f} to {after:.3f} nats "
    "per token, more than {limit:g}; the soul is set aside as {path}",
    "source-damaged": "the source itself predicts text no better than chance among its {vocabulary} tokens: it looks "
    "damaged or was never trained, so do not rely on the result; get it again from its publisher and convert that",
    "report-skipped": "the result was not compared with the source: {why}",
    "resumed": "going on with an unfinished conversion: {tensors} tensors are done",
    "no-end-token": (
        "nothing in this model's folder says how it ends an answer: it may go on until --max-tokens"
    ),
    "template-no-end": (
        "with this chat template an answer ends with {mark}, for which this model has no token: the answer is cut "
        "where these letters come, and may go on until --max-tokens"
    ),
    "memory-tight": (
        "the model and its chat take {needs}, and {left} is free now: answers will be slow; close other programs"
    ),
    "device": "{reason}",
    "skipped-tensor": "tensor {tensor} is not needed and left out",
    "verified": "the engine opens the result ({file_bytes} bytes)",
    "verified-tables-only": (
        "the result has {file_bytes} bytes and does not fit into this process's address space limit ({limit}): "
        "only its tables were checked"
    ),
}

STOPPED = "stopped"
PREPARED = """\
{rows} rows = {used} used + {rejected} rejected; {mended} were put right
{tokens} tokens, {learned} of them learned; {held} of {entries} entries are held back to check with"""
PREPARED_TEMPLATE = "rows go through the model's chat template"
PREPARED_PLAIN = "prompt and answer are joined as they are, without a chat template"
PREPARED_FACTS = (
    "beside the texts {dreams} requests for what they say, and {rehearsed} entries of what it knows anyhow"
)
PREPARED_MENDABLE = "{mendable} of the rejected rows would be used with --fix"
PREPARED_REJECTS = "rejected rows: {rejects}"
PREPARED_NO_HELD = (
    "training holds back some all the same, a tenth of its windows, to see whether it gets better"
)
PREPARED_NEXT = "use it:  bitconverter train {quoted_model} {quoted_out} NAME.soul{options}"
PREPARED_CONVERT = """\
only converted models are trained, and {model} is none: convert it, then use what was prepared here
  bitconverter convert {quoted_model} SMALL
  bitconverter train SMALL {quoted_out} NAME.soul{options}"""
PREPARED_FEW = "training needs at least 2 examples, one to learn from and one to check with: add more"
PREPARED_SHORT = (
    "training needs at least 2 windows, one to learn from and one to check with, and this gives {windows} of at most "
    "{tokens} tokens: add more text, or prepare it with a smaller --window"
)
PREPARED_LOOKED = "nothing was written: leave out --preview to write {out}"
PREVIEW_HEAD = "--- {where}: {tokens} tokens, {learned} learned"
PREVIEW_LEARNED = "\u00ab{text}\u00bb"
STEPS_MADE = "made"  # how many, where not all that were asked for were made
TRAIN_UNUSED = "{option} belongs to --{of} {needed} and does nothing with --{of} {now}: leave one of them out"
TRAIN_CHECK = "step {step}: {value:.4f} nats per token on what is held back"
TRAIN_RIGHT = "step {step}: {value:.1%} of it right"
TRAIN_CHECKED = """\
before the first step  about {before}
a step                 about {step}, {steps} steps: in all about {whole}
checks, general text   about {looks} of that
memory                 about {memory} beside the model, {free} are free
disk                   about {disk} while it trains, {disk_free} are free
material               {windows} windows to learn from; beyond {useful} steps it is mostly learned by heart"""
TRAINED = """\
{out}: {parameters} parameters, best after step {best_step} of {steps}, {seconds:.1f} s
on what was held back {before:.4f} -> {after:.4f} nats per token, {accuracy_before:.1%} -> {accuracy_after:.1%} right"""
TRAINED_GENERAL = "on a general text {before:.4f} -> {after:.4f} nats per token (it may rise by {limit:g})"
TRAINED_ASIDE = """\
set aside, because it has forgotten too much: train with fewer steps or a smaller --rate, or keep it all the same:
          bitconverter adopt {quoted_out}"""
RUNS_HEADER = ("number", "started", "outcome", "steps", "loss", "on", "pinned", "soul")
RUNS_NONE = "no trainings so far"
RUNS_WRONG = {
    "diff": "runs diff takes the numbers of two trainings; `bitconverter runs` lists them",
    "pin": "runs pin takes the number of a training, and the step if it shall not be the newest; `bitconverter runs` "
    "lists them",
    "unpin": "runs unpin takes the number of a training and the step of its pinned state; `bitconverter runs` lists "
    "them",
    "go-on": "runs go-on takes the number of a training, the step of its pinned state and --out; `bitconverter runs` "
    "lists them",
}
PINNED = "the state after step {step} is pinned in {path}"
UNPINNED = "the state after step {step} is not pinned any more"
ADOPTED = "{out}: kept all the same"
TRAINED_LOG = "every step is written down in {log}"
REPLAYED = "{out}: {parameters} parameters, after step {best_step} of {steps}"
TRAINED_NEXT = "use it:  bitconverter chat {quoted_model} --soul {quoted_out}"
MERGED = "{out}: other scales in {matrices} matrices, {size}"
STOPPED_CONVERT = "stopped; give the same command again to go on"
AGAIN_TO_FORCE = "stopping ... (Ctrl-C again ends at once)"
OUTPUT_FAILED = "the output cannot be written: {reason}"
UNEXPECTED = "this should not have happened; please report it with the lines above"

CHAT_HELP = "/reset  forget the conversation   /summary  go on with it in short   /quit  end   Ctrl-C  stop the answer"
CHAT_START = "{name} ({family}, context {n_ctx}) on {device}. {help}"
CHAT_TEMPLATE = "The conversation is written with the chat template {template}."
CHAT_RESET = "(forgotten)"
CHAT_FULL = "/summary goes on with the conversation in short"
CHAT_NOTHING = "there is no conversation to summarise yet"
CHAT_SUMMARISED = "(the conversation goes on with this in place of what was said)"
CHAT_UNKNOWN = "there is no command {command}; {help}"
CHAT_STATS = "[{tokens} tokens, {tokens_per_second:.1f} tok/s, seed {seed}{reason}]"
CHAT_REASONS = {
    "stop": "",
    "length": ", longest answer reached",
    "context": ", context full: /summary or /reset to go on",
}
CHAT_STOPPED = "[stopped]"

CONVERTED = """\
{out}: {file_size}, {bits_per_weight:.2f} bits per weight (the source's tensors: {source_size})
relative squared error {relative_error:.5f}, {seconds:.1f} s"""
CONVERTED_REPORT = """\
against the source on {tokens} tokens: KL divergence {kl:.4g}, same top token {top1:.1%}, perplexity \
{source_perplexity:.4g} -> {perplexity:.4g} (MODEL_CARD.md has more)"""
CONVERTED_NEXT = "try it:  bitconverter {verb} {quoted_out}"
LAYER = "layer {layer}: error {error:.5f} of its outputs, {mean:.5f} on average so far{left}"
PLANNED = """\
{name}: {family}, {parameters:,} parameters, {source_size}; this computer: {memory} of memory, {threads} threads"""
PLAN_HEADER = ("preset", "bits", "file", "chat takes", "tok/s", "KL", "full", "fast", "memory", "here")
PLAN_FITS = "chats of up to {context} tokens"
PLAN_FITS_NOT = "too large for this computer's memory"
PLAN_END = """\
Estimates. KL: of the method full, nats per token to the source (0.05 is hard to notice, 0.3 is weaker, above 1 is
poor), from measurements on a small model. full, fast: the time with each method, measured on a few matrices here.
chat takes: memory with 4096 tokens. memory: of the
conversion, with full. tok/s: of an answer here. bitconverter convert SOURCE OUT --preset NAME"""
EVALUATED = "perplexity            {perplexity:.4f}   on {tokens} tokens ({tokens_per_second:.0f} tok/s)"
EVALUATED_REFERENCE = """\
reference perplexity  {reference_perplexity:.4f}
KL divergence         {kl:.5f} nats per token
same top token        {top1:.2%}"""
RAN_ON = "ran on                {device}"
LOGITS = "{out}: f32 [{shape[0]}, {shape[1]}]; most probable next tokens {argmax}"
BENCHMARKED = """\
prefill   {prefill_tok_s:9.1f} tok/s   ({prompt_tokens} tokens)
decode    {decode_tok_s:9.1f} tok/s   ({new_tokens} tokens, {decode_gb_s:.1f} GB/s of weights)
load      {load_s:9.2f} s
peak RSS  {peak_rss:>9}
{isa}, {threads} threads, median of {repeats}, result {logits_hash}
{machine}
device    {device}"""
BENCHMARK_UNUSED = {
    "planes": "--planes shapes a model that --synthetic makes, and none is made. Leave it out, or add --synthetic.",
    "layers": "--layers shapes a model that --synthetic makes, and none is made. Leave it out, or add --synthetic.",
    "text": "--text needs a tokenizer, and a model that --synthetic makes has none. Leave one of the two out.",
    "max_tokens": "--max-tokens says how much of the file of --text is read, and none is read. Leave it out, or add "
    "--text.",
    "prompt_tokens": "--prompt-tokens has no effect with --sessions or --text alone, which measure no prompt. Leave it "
    "out, or add --full.",
    "new_tokens": "--new-tokens has no effect with --text alone, which decodes a few tokens behind each part of the "
    "text. Leave it out, or add --sessions or --full.",
    "repeat": "--repeat has no effect with --text alone, because a text is read once. Leave it out, or add --sessions "
    "or --full.",
}
CARD_MEMORY = "card RAM  {used:>9}   (at most {peak}, of {total})"

PROCESSOR = "the processor{details}"
ON_CARD = "{where} {device}, all {all_layers} layers"
ON_CARD_PARTLY = "{where} {device}, {layers} of {all_layers} layers{head}, the rest on {processor}"
HEAD_TOO = " and the head"
# On what a training ran: RanOn
RAN_ON_CARD = "{where} {device} ({layers} of {all_layers} layers that learn{head}{more})"
RAN_ON_BEFORE = ", {before} of those before them"
STEPS_ON_PROCESSOR = "the steps run on the processor"
STEPS_ON_CARD = "the steps run on {where} {device}, all {all_layers} layers that learn{head} ({bytes} there)"
STEPS_ON_CARD_PARTLY = (
    "the steps run on {where} {device}, the last {layers} of {all_layers} layers that learn{head} ({bytes} there), "
    "the rest on the processor"
)
# By the code of jobs/placement.py: why a model runs where it does. Nothing is said of what was asked for.
DEVICE_WHY = {
    "asked-cpu": "",
    "all-layers": "",
    "asked-layers": "",
    "some-layers": "all of it would take {needs} on {device}, and only {room} is free for it",
    "no-backend": "{why}",
    "no-driver": "{why}",
    "device-failed": "the graphics card failed: {why}",
    "too-small": "not one layer fits on {device}: all of it would take {needs}, and only {room} is free for it",
    "kv-needs-cpu": "a KV cache of {kv} is for the processor only; {device} takes int8",
    "lora-needs-cpu": "the soul holds low-rank additions (LoRA) or whole matrices that are added, "
    "which run on the processor only, not on {device}",
    "unsupported": "{device} cannot run this model: {why}",
    "device-wrong": "{device} is not used: {why}",
    "delta-needs-cpu": "whole matrices that are added are trained on the processor only, not on {device}",
    "train-too-small": "not one layer that learns fits on {device}: with what the steps need they take {needs}, and "
    "only {room} is free for it",
    "train-some-layers": "with what the steps need all of them would take {needs}, and only {room} is free for it",
}
DEVICES_HEADER = ("device", "name", "memory", "free", "compute", "driver")
NO_CARD = "no graphics card can be used: {why}"
NO_CARD_NAMED = "{names}: cannot be used, because {why}"
INSPECTED = """\
{name}: {kind}, {family}, {parameters:,} parameters
weight files     {file_size} ({file_bytes} bytes), whole folder {total_size}
bits per weight  {bits_per_weight:.3f} in the decoder layers' matrices"""
INSPECTED_SOURCE = "made from        {source} by {tool}"
INSPECTED_UNSUPPORTED = "cannot run here  {unsupported}"
INSPECTED_VERIFIED = "verified         {verified} hashes are as in manifest.json"
PREFLIGHT = """\
{name}: {kind}, {family}, {parameters:,} parameters, {source_size}
result: about {out_size} at {bits_per_weight:.2f} bits per weight; {free} free"""
PREFLIGHT_OK = "ready to convert"
PREFLIGHT_BAD = "cannot be converted as it is"
