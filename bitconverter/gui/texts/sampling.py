# ruff: noqa: E501 - sentences are kept in one piece
"""The settings of answers beside the chat."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "system-prompt": ("System prompt", "システムプロンプト"),
    "system-prompt-hint": ("How the model should behave. Empty: as it was made.", "モデルのふるまい方。空欄なら元のまま。"),
    "sampling": ("Answers", "答え方"),
    "sampling-temperature": ("Temperature", "温度"),
    "sampling-temperature-tip": ("0 always takes the likeliest word; higher is freer.", "0 は常に最有力の語。大きいほど自由になります。"),
    "sampling-top_p": ("Top-p", "Top-p"),
    "sampling-top_p-tip": ("Only the likeliest words whose probabilities add up to this.", "確率の合計がこの値になるまでの上位の語だけを使います。"),
    "sampling-top_k": ("Top-k", "Top-k"),
    "sampling-top_k-tip": ("Only this many of the likeliest words; 0 for all.", "上位この数の語だけを使います。0 で無制限。"),
    "sampling-min_p": ("Min-p", "Min-p"),
    "sampling-min_p-tip": ("Leaves out words less likely than this share of the best one.", "最有力の語に対する確率の比がこの値より小さい語を除きます。"),
    "sampling-repeat_penalty": ("Repeat penalty", "繰り返しの抑制"),
    "sampling-repeat_penalty-tip": ("Above 1 makes repeated words less likely.", "1 より大きいと、同じ語の繰り返しを減らします。"),
    "sampling-max_tokens": ("Max tokens", "最大トークン数"),
    "sampling-max_tokens-tip": ("The longest answer.", "答えの最大の長さ。"),
    "sampling-seed": ("Seed", "シード"),
    "seed-random": ("A new one for every answer", "毎回新しくする"),
    "seed-random-tip": ("With a fixed seed the same question gets the same answer.", "固定すると、同じ質問に同じ答えが返ります。"),
    "reset-sampling": ("Usual values", "標準の値に戻す"),
}  # fmt: skip
