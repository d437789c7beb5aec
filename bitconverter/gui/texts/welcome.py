# ruff: noqa: E501 - sentences are kept in one piece
"""The welcome page: the first start, and this PC in plain words."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "page-welcome": ("Welcome", "ようこそ"),
    "welcome-title": ("Welcome to BitConverter", "BitConverter へようこそ"),
    "welcome-subtitle": ("Make a language model several times smaller, and talk to it, on the PC you already have.", "言語モデルを何分の一かの大きさにして、いまお使いの PC で会話できます。"),
    "welcome-promise": ("Everything stays on this PC: no account, no network, nothing is sent anywhere. Original models are never changed.", "すべてこの PC の中で完結します。アカウントも通信も不要で、どこにも送信しません。元のモデルは変更しません。"),
    "this-pc": ("This PC", "この PC"),
    "pc-memory": ("Memory", "メモリー"),
    "pc-processor": ("Processor", "プロセッサー"),
    "pc-gpu": ("Graphics card", "グラフィックスカード"),
    "pc-disk": ("Free disk space", "ディスクの空き"),
    "pc-memory-value": ("{total} ({free} free now)", "{total}（現在の空き {free}）"),
    "pc-processor-value": ("{count} core, {threads} threads, {isa}", "{count} cores, {threads} threads, {isa}", "{count} コア、{threads} スレッド、{isa}"),
    "pc-gpu-none": ("None needed: the processor does the work", "不要です（プロセッサーで動きます）"),
    "pc-gpu-value": ("{names}: not used, the processor does the work. {why}", "{names}: 使いません（プロセッサーで動きます）。{why}"),
    "pc-disk-value": ("{free}", "{free}"),
    "verdict-original": ("runs as it is, and converted it is faster and leaves room for other programs.", "元のままでも動きます。変換すると、さらに速く、軽くなります。"),
    "verdict-best": ("runs well in the best quality (about 6.5 bits).", "最高品質（約 6.5 ビット）で快適に動きます。"),
    "verdict-small": ("runs well at about 3 to 5 bits.", "3～5 ビットほどにすれば快適に動きます。"),
    "verdict-tiny": ("runs only in the smallest size, with a clear loss of quality.", "極小の設定でのみ動きます。品質ははっきり下がります。"),
    "verdict-no": ("is too large for the memory of this PC.", "この PC のメモリーには大きすぎます。"),
    "way-try": ("Try it now", "すぐに試す"),
    "way-try-text": ("Talk to the small sample model that came with the program. Works without a network.", "付属の小さなモデルと会話します。ネットワークは要りません。"),
    "way-convert": ("Convert a model", "モデルを変換する"),
    "way-convert-text": ("Choose a model folder or a .gguf file that you have, and how small it should be.", "手元のモデルのフォルダーか .gguf ファイルを選び、大きさを決めます。"),
    "way-open": ("Open a model", "モデルを開く"),
    "way-open-text": ("Talk to a model that is already there, converted or not.", "すでにあるモデルと会話します。変換前でも開けます。"),
}  # fmt: skip
