"""The engine's work space for layers and heads on their own (training, conversion), as its C code allocates it."""

from bitconverter.engine import ModelInfo

GROUP = 1024  # tokens that it holds at a time (native/src/block_windows.c, block_back.c)
BATCH = 256  # of them go through a matrix together
HEAD_LOGITS = 8 << 20  # f32 at most (native/src/head.c)
HEAD_TOKENS = (12, 256)
BACK_BLOCKS, BACK_BYTES = 16, 576 + 4 + 4  # of a token: gradients as integers (native/src/linear_back.h)


def forward_bytes(info: ModelInfo, tokens: int) -> int:
    """A layer forward, `tokens` at a time."""
    heads, kv = info.n_heads * info.head_dim, 2 * info.n_kv_heads * info.head_dim
    batch = min(BATCH, tokens)
    return 4 * (tokens * (2 * heads + kv) + batch * (2 * info.hidden_size + 2 * info.intermediate_size))


def backward_bytes(info: ModelInfo, tokens: int, window: int) -> int:
    """A layer back, for `tokens` in windows of `window`."""
    heads, kv = info.n_heads * info.head_dim, 2 * info.n_kv_heads * info.head_dim
    windows = max(1, min(GROUP // window, -(-tokens // window)))
    held = windows * window
    per_token = 2 * (heads + kv) + 4 * heads + 2 * info.hidden_size
    per_batch = 3 * info.hidden_size + 6 * info.intermediate_size
    per_batch += max(info.hidden_size, info.intermediate_size, heads)
    batch = min(BATCH, held)
    return 4 * (held * per_token + batch * per_batch) + batch * BACK_BLOCKS * BACK_BYTES


def kept_bytes(info: ModelInfo, tokens: int) -> int:
    """What one layer leaves to its way back (native/src/block.h, bc_kept)."""
    heads, kv = info.n_heads * info.head_dim, 2 * info.n_kv_heads * info.head_dim
    return 4 * tokens * (2 * heads + kv + 2 * info.hidden_size + 2 * info.intermediate_size)


def head_bytes(info: ModelInfo, vocabulary: int, models: int = 1) -> int:
    """Logits and their gradients; `models` 2: beside a teacher's."""
    least, most = HEAD_TOKENS
    chunk = max(least, min(most, HEAD_LOGITS // max(1, vocabulary) // least * least))
    floats = models * (vocabulary + 2 * info.hidden_size) + 2 * info.hidden_size
    return chunk * (4 * floats + BACK_BLOCKS * BACK_BYTES)
